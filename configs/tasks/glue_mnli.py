"""Whether a sentence follows from another, contradicts it or neither (Williams et al. 2018): 392,702 / 9,815 / 9,832.

    python -m bert_jax.finetune --config=configs/tasks/glue_mnli.py --init_from=path/to/bert --workdir=runs/glue_mnli

Source: TensorFlow Datasets, glue/mnli, which fetches it on the first run; the labels of its test set are
hidden. Its test is the mismatched dev set.
Expected: accuracy 0.846 matched, 0.834 mismatched, on test by BERT-base (Devlin et al. 2018, table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="glue_mnli",
    task=use("classification", text="premise", second="hypothesis"),
    source=use("tfds", name="glue/mnli", dev="validation_matched", test="validation_mismatched"),
    length=128,
    batch_size=32,
    epochs=3,
    learning_rate=2e-5,
)
