"""How alike two sentences are, from 0 to 5 (Cer et al. 2017): 5,749 / 1,500.

    python -m bert_jax.finetune --config=configs/tasks/glue_stsb.py --init_from=path/to/bert --workdir=runs/glue_stsb

Source: TensorFlow Datasets, glue/stsb, which fetches it on the first run; the labels of its test set are
hidden.
Expected: Spearman's correlation 0.858 on test by BERT-base (Devlin et al. 2018, table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="glue_stsb",
    task=use("regression", text="sentence1", second="sentence2"),
    source=use("tfds", name="glue/stsb"),
    length=128,
    batch_size=32,
    epochs=4,
    learning_rate=2e-5,
)
