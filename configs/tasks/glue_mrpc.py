"""Whether two sentences paraphrase each other (Dolan and Brockett 2005): 3,668 / 408.

    python -m bert_jax.finetune --config=configs/tasks/glue_mrpc.py --init_from=path/to/bert --workdir=runs/glue_mrpc

Source: TensorFlow Datasets, glue/mrpc, which fetches it on the first run; the labels of its test set are
hidden.
Expected: F1 0.889 on test by BERT-base (Devlin et al. 2018, table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="glue_mrpc",
    task=use(
        "classification",
        text="sentence1",
        second="sentence2",
        labels=("not_equivalent", "equivalent"),
        metric="f1",
    ),
    source=use("tfds", name="glue/mrpc"),
    length=128,
    batch_size=32,
    epochs=4,
    learning_rate=2e-5,
)
