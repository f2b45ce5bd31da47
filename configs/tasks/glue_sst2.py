"""Sentiment of phrases of film reviews (Socher et al. 2013): 67,349 / 872.

    python -m bert_jax.finetune --config=configs/tasks/glue_sst2.py --init_from=path/to/bert --workdir=runs/glue_sst2

Source: TensorFlow Datasets, glue/sst2, which fetches it on the first run; the labels of its test set are
hidden.
Expected: accuracy 0.935 on test by BERT-base (Devlin et al. 2018, table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="glue_sst2",
    task=use("classification", text="sentence"),
    source=use("tfds", name="glue/sst2"),
    length=128,
    batch_size=32,
    epochs=3,
    learning_rate=2e-5,
)
