"""SQuAD 2.0, in which a third of the questions have no answer (Rajpurkar et al. 2018): 130,319 / 11,873.

    python -m bert_jax.finetune --config=configs/tasks/squad2.py --init_from=path/to/bert --workdir=runs/squad2

Source: TensorFlow Datasets, squad/v2.0, which fetches it on the first run.
Expected: F1 0.74 to 0.77 on dev by BERT-base, as papers report it.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="squad2",
    task=use("question_answering", stride=128, no_answer=True),
    source=use("tfds", name="squad/v2.0"),
    length=384,
    batch_size=32,
    epochs=2,
    learning_rate=3e-5,
)
