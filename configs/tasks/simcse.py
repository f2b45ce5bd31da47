"""Sentence vectors from plain text, one sentence a line: unsupervised SimCSE (Gao et al. 2021, arXiv 2104.08821).

    python -m bert_jax.finetune --config=configs/tasks/simcse.py --init_from=path/to/bert --workdir=runs/simcse \\
        --config.source.train.train=wiki1m_for_simcse.txt

Source: appendix A: each sentence twice under different dropout, 1,000,000 sentences of English Wikipedia, one epoch,
batch 64, learning rate 3e-5, temperature 0.05, 32 tokens, [CLS] with a dense layer in training only, and the best
weights on STS-B's dev set, evaluated every 125 steps; here 125 times. The encoder must be pretrained.
Expected: Spearman's correlation 0.825 on STS-B's dev set, and 0.7625 on average of seven STS test sets
(table 5, "all"), by BERT-base; within 0.01, as the seed decides.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="simcse",
    task=use(
        "sentence_vectors",
        loss=use("simcse", projection=True),
        pooling="cls",
        texts=("text", "text"),
        text_length=32,
        pair=("sentence1", "sentence2"),
        score="label",
    ),
    source=use(
        "splits",
        train=use("lines", train="wiki1m_for_simcse.txt"),
        dev=use("tfds", name="glue/stsb"),
    ),
    length=128,
    batch_size=64,
    epochs=1,
    learning_rate=3e-5,
    schedule=use("linear", warmup=0.0),
    evaluations=125,
)
