"""Questions that are answered by extraction: SQuAD 1.1, and SQuAD 2.0, where some have no answer.

    python -m bert_jax.suite --config=configs/suites/squad.py --init_from=path/to/bert --workdir=runs/squad

Source: TensorFlow Datasets, which fetches each set on the first run.
Expected: see each task.
"""

from bert_jax.config import Member, Suite

config = Suite(name="squad", tasks=tuple(Member(f"../tasks/{task}.py") for task in ("squad", "squad2")))
