"""Sentence vectors from entailment: supervised SimCSE (Gao et al. 2021, arXiv 2104.08821, section 4).

    python -m bert_jax.finetune --config=configs/tasks/simcse_supervised.py --init_from=path/to/bert \\
        --workdir=runs/simcse_supervised --config.source.train.train=nli_for_simcse.csv

Source: appendix A: a premise, what it entails and what contradicts it, 275,601 triplets of SNLI and MNLI (the authors'
nli_for_simcse.csv, with the columns sent0, sent1, hard_neg); three epochs, batch 512, learning rate 5e-5, 32 tokens,
[CLS] with a dense layer that stays. With little memory, --config.microbatches=8 gives the same gradients.
Expected: 0.8157 on average of seven STS test sets (table 5, "all") by BERT-base.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="simcse_supervised",
    task=use(
        "sentence_vectors",
        loss=use("simcse"),
        pooling="cls",
        dense=768,
        texts=("sent0", "sent1", "hard_neg"),
        text_length=32,
        pair=("sentence1", "sentence2"),
        score="label",
    ),
    source=use(
        "splits",
        train=use("delimited", train="nli_for_simcse.csv"),
        dev=use("tfds", name="glue/stsb"),
    ),
    length=128,
    batch_size=512,
    epochs=3,
    learning_rate=5e-5,
    schedule=use("linear", warmup=0.0),
    evaluations=12,
)
