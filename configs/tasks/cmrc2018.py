"""Questions about passages of Chinese Wikipedia, answered by extraction (Cui et al. 2019): 10,142 / 3,219.

    python -m bert_jax.finetune --config=configs/tasks/cmrc2018.py --init_from=path/to/bert --workdir=runs/cmrc2018 \\
        --config.source.train=cmrc2018/train.json \\
        --config.source.dev=cmrc2018/dev.json

Source: JSON as SQuAD's. The trial file is no test set, and one of its questions is empty.
Expected: exact match 0.644, F1 0.840 on dev by BERT-base, Chinese (README of ymcui/MacBERT).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="cmrc2018",
    task=use("question_answering", rules="cmrc", stride=128),
    source=use("squad", train="cmrc2018/train.json", dev="cmrc2018/dev.json", misplaced="keep"),
    length=512,
    batch_size=32,
    epochs=2,
    learning_rate=3e-5,
)
