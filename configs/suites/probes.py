"""What an encoder has learnt beside scores: whether shared wording is taken for entailment.

    python -m bert_jax.suite --config=configs/suites/probes.py --init_from=runs/demo --workdir=runs/probes

Word similarity is `python -m bert_jax.vector_suite --config=configs/vectors/words.py`, pseudo-perplexity is a figure of
`python -m bert_jax.evaluate`.
Source: see the task.
Expected: see the task.
"""

from bert_jax.config import Member, Suite

config = Suite(name="probes", tasks=(Member("../tasks/heuristics.py"),))
