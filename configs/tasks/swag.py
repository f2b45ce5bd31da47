"""Which of four sentences goes on from one (Zellers et al. 2018, SWAG): 73,546 / 20,006.

    python -m bert_jax.finetune --config=configs/tasks/swag.py --init_from=path/to/bert --workdir=runs/swag \\
        --config.source.train=swag/train.csv \\
        --config.source.dev=swag/val.csv

Source: the tables of github.com/rowanz/swagaf, data/train.csv and data/val.csv; the labels of test.csv are hidden.
Expected: accuracy 0.816 on dev by BERT-base (Devlin et al. 2018, table 4).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="swag",
    task=use(
        "multiple_choice",
        text="sent1",
        question="sent2",
        choices=("ending0", "ending1", "ending2", "ending3"),
    ),
    source=use("delimited", train="swag/train.csv", dev="swag/val.csv"),
    length=128,
    batch_size=16,
    epochs=3,
    learning_rate=2e-5,
)
