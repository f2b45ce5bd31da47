"""GLUE (Wang et al. 2018) without WNLI, as BERT reports it; scores are of dev, since the labels of test are hidden.

    python -m bert_jax.suite --config=configs/suites/glue.py --init_from=path/to/bert --workdir=runs/glue

Source: TensorFlow Datasets, which fetches each set on the first run.
Expected: mean over the tasks 0.796 on test by BERT-base (Devlin et al. 2018, table 1), where MNLI counts twice.
"""

from bert_jax.config import Member, Suite

TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
config = Suite(name="glue", tasks=tuple(Member(f"../tasks/glue_{task}.py") for task in TASKS))
