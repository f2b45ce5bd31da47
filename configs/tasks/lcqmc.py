"""Whether two Chinese questions ask the same (Liu et al. 2018, LCQMC): 238,766 / 8,802 / 12,500 pairs.

    python -m bert_jax.finetune --config=configs/tasks/lcqmc.py --init_from=path/to/bert --workdir=runs/lcqmc \\
        --config.source.train=lcqmc/train.txt \\
        --config.source.dev=lcqmc/dev.txt \\
        --config.source.test=lcqmc/test.txt

Source: `question TAB question TAB label`, without a header. Without the training file, train on dev:
--config.source.train=lcqmc/dev.txt --config.source.dev= keeps a tenth of it for evaluation.
Expected: accuracy on test 0.870 by BERT-base, Chinese (README of ymcui/Chinese-BERT-wwm), with the whole training file.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="lcqmc",
    task=use("classification", text="first", second="second"),
    source=use(
        "delimited",
        train="lcqmc/train.txt",
        dev="lcqmc/dev.txt",
        test="lcqmc/test.txt",
        header=False,
        columns=("first", "second", "label"),
    ),
    length=128,
    batch_size=64,
    epochs=3,
    learning_rate=2e-5,
)
