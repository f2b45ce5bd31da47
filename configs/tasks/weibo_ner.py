"""Names and mentions of people, places, organisations in Weibo posts (Peng and Dredze 2015): 1,350 / 270 / 270.

    python -m bert_jax.finetune --config=configs/tasks/weibo_ner.py --init_from=path/to/bert --workdir=runs/weibo_ner \\
        --config.source.train=weibo_ner/train.conll \\
        --config.source.dev=weibo_ner/dev.conll \\
        --config.source.test=weibo_ner/test.conll

Source: `character+position TAB tag` a line; the position within the word is left out.
Expected: F1 on test about 0.68 by BERT-base, Chinese, as papers report it.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="weibo_ner",
    task=use("tagging", joiner=""),
    source=use(
        "conll",
        train="weibo_ner/train.conll",
        dev="weibo_ner/dev.conll",
        test="weibo_ner/test.conll",
        separator="\t",
        drop=r"\d$",
    ),
    length=256,
    batch_size=16,
    epochs=10,
    learning_rate=5e-5,
)
