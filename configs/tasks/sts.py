"""How alike two sentences are, from 0 to 5 (Agirre et al. 2012): 1,483 pairs to learn from, 2,358 to test.

    python -m bert_jax.finetune --config=configs/tasks/sts.py --init_from=runs/demo --workdir=runs/sts \\
        --config.source.train='sts/2012.*.train.tsv' \\
        --config.source.test='sts/2012.*.test.tsv'

Source: SemEval-2012 task 6, MSRpar and SMTeuroparl, then also OnWN and SMTnews; `score TAB sentence TAB sentence`.
Lines without a score, as in later years' files, must be left out.
Expected: no published figure for the four test files together; see the baselines of `bert_jax.suite`.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="sts",
    task=use("regression", text="first", second="second", label="score"),
    source=use(
        "delimited",
        train="sts/2012.*.train.tsv",
        test="sts/2012.*.test.tsv",
        header=False,
        columns=("score", "first", "second"),
    ),
    length=128,
    batch_size=32,
    epochs=5,
    learning_rate=5e-5,
)
