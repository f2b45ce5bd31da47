"""Which of four endings goes on from a text (Zellers et al. 2019, HellaSwag): 39,905 / 10,042.

    python -m bert_jax.finetune --config=configs/tasks/hellaswag.py --init_from=path/to/bert --workdir=runs/hellaswag

Source: TensorFlow Datasets, hellaswag, which fetches it on the first run; the labels of its test set are hidden.
Expected: accuracy 0.395 on dev by BERT-base (Zellers et al. 2019, table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="hellaswag",
    task=use("multiple_choice", text="context", choices="endings"),
    source=use("tfds", name="hellaswag"),
    length=128,
    batch_size=16,
    epochs=3,
    learning_rate=2e-5,
)
