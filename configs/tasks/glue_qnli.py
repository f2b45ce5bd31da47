"""Whether a sentence answers a question (Rajpurkar et al. 2016): 104,743 / 5,463.

    python -m bert_jax.finetune --config=configs/tasks/glue_qnli.py --init_from=path/to/bert --workdir=runs/glue_qnli

Source: TensorFlow Datasets, glue/qnli, which fetches it on the first run; the labels of its test set are
hidden.
Expected: accuracy 0.905 on test by BERT-base (Devlin et al. 2018, table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="glue_qnli",
    task=use("classification", text="question", second="sentence"),
    source=use("tfds", name="glue/qnli"),
    length=128,
    batch_size=32,
    epochs=3,
    learning_rate=2e-5,
)
