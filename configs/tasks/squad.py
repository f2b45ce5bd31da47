"""Questions about passages of Wikipedia, answered by extraction (Rajpurkar et al. 2016): 87,599 / 10,570.

    python -m bert_jax.finetune --config=configs/tasks/squad.py --init_from=path/to/bert --workdir=runs/squad

Source: TensorFlow Datasets, squad/v1.1, which fetches it on the first run.
Expected: exact match 0.808, F1 0.885 on dev by BERT-base (Devlin et al. 2018, table 2).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="squad",
    task=use("question_answering", stride=128),
    source=use("tfds", name="squad/v1.1"),
    length=384,
    batch_size=32,
    epochs=2,
    learning_rate=3e-5,
)
