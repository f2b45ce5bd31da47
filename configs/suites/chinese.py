"""Chinese tasks of files: sentiment, questions that ask the same, names, answers.

    python -m bert_jax.suite --config=configs/suites/chinese.py --init_from=path/to/bert --workdir=runs/chinese

Source: the files that each task's configuration names, beside the working directory or given by
--config.TASK.source.train=FILE; --tasks=chnsenticorp,lcqmc takes some.
Expected: see each task.
"""

from bert_jax.config import Member, Suite

TASKS = ("chnsenticorp", "lcqmc", "weibo_ner", "cmrc2018")
config = Suite(name="chinese", tasks=tuple(Member(f"../tasks/{task}.py") for task in TASKS))
