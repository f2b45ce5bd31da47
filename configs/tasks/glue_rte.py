"""Whether a sentence follows from another (Dagan et al. 2006 and later): 2,490 / 277.

    python -m bert_jax.finetune --config=configs/tasks/glue_rte.py --init_from=path/to/bert --workdir=runs/glue_rte

Source: TensorFlow Datasets, glue/rte, which fetches it on the first run; the labels of its test set are
hidden.
Expected: accuracy 0.664 on test by BERT-base (Devlin et al. 2018, table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="glue_rte",
    task=use("classification", text="sentence1", second="sentence2"),
    source=use("tfds", name="glue/rte"),
    length=128,
    batch_size=32,
    epochs=4,
    learning_rate=2e-5,
)
