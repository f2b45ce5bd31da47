"""Whether a sentence is grammatical (Warstadt et al. 2018): 8,551 / 1,043.

    python -m bert_jax.finetune --config=configs/tasks/glue_cola.py --init_from=path/to/bert --workdir=runs/glue_cola

Source: TensorFlow Datasets, glue/cola, which fetches it on the first run; the labels of its test set are
hidden.
Expected: Matthews's correlation 0.521 on test by BERT-base (Devlin et al. 2018, table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="glue_cola",
    task=use("classification", text="sentence", metric="matthews"),
    source=use("tfds", name="glue/cola"),
    length=128,
    batch_size=32,
    epochs=4,
    learning_rate=2e-5,
)
