"""Sentiment of Chinese reviews of hotels, books and notebooks (ChnSentiCorp): 9,600 / 1,200 / 1,200.

    python -m bert_jax.finetune --config=configs/tasks/chnsenticorp.py --init_from=path/to/bert \\
        --workdir=runs/chnsenticorp \\
        --config.source.train=chnsenticorp/train.tsv \\
        --config.source.dev=chnsenticorp/dev.tsv \\
        --config.source.test=chnsenticorp/test.tsv

Source: tables with the header `label TAB text_a`.
Expected: accuracy 0.95 on dev and test by BERT-base, Chinese (README of ymcui/Chinese-BERT-wwm).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="chnsenticorp",
    task=use("classification", text="text_a"),
    source=use(
        "delimited",
        train="chnsenticorp/train.tsv",
        dev="chnsenticorp/dev.tsv",
        test="chnsenticorp/test.tsv",
    ),
    length=256,
    batch_size=64,
    epochs=3,
    learning_rate=2e-5,
)
