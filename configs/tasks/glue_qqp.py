"""Whether two questions on Quora ask the same: 363,849 / 40,430.

    python -m bert_jax.finetune --config=configs/tasks/glue_qqp.py --init_from=path/to/bert --workdir=runs/glue_qqp

Source: TensorFlow Datasets, glue/qqp, which fetches it on the first run; the labels of its test set are
hidden.
Expected: F1 0.712 on test by BERT-base (Devlin et al. 2018, table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="glue_qqp",
    task=use(
        "classification",
        text="question1",
        second="question2",
        labels=("not_duplicate", "duplicate"),
        metric="f1",
    ),
    source=use("tfds", name="glue/qqp"),
    length=128,
    batch_size=32,
    epochs=3,
    learning_rate=2e-5,
)
