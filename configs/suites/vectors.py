"""Sentence vectors of an encoder: trained on SICK's scores and on its classes, judged by SICK's relatedness.

    python -m bert_jax.suite --config=configs/suites/vectors.py --init_from=path/to/bert --workdir=runs/vectors

Source: the files that each task's configuration names; --config.sbert_sick.source.train=FILE gives others.
Expected: see each task.
"""

from bert_jax.config import Member, Suite

TASKS = ("sbert_sick", "sbert_sick_classes")
config = Suite(name="vectors", tasks=tuple(Member(f"../tasks/{task}.py") for task in TASKS))
