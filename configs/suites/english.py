"""English tasks of files and packages: sentiment, topics, entailment, likeness, vectors, chunks.

    python -m bert_jax.suite --config=configs/suites/english.py --init_from=runs/demo --workdir=runs/english

Source: the files that each task's configuration names, beside the working directory or given by
--config.TASK.source.train=FILE; --tasks=reuters_r8,newsgroups takes those that are fetched.
Expected: see each task.
"""

from bert_jax.config import Member, Suite

TASKS = (
    "polarity",
    "movie_reviews",
    "reuters_r8",
    "newsgroups",
    "sick_entailment",
    "sick_relatedness",
    "sbert_sick",
    "sts",
    "conll2000",
    "conll2000_pos",
)
config = Suite(name="english", tasks=tuple(Member(f"../tasks/{task}.py") for task in TASKS))
