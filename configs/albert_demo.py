"""A small ALBERT on real English, in minutes on two CPU cores.

    python -m bert_jax.pretrain --config=configs/albert_demo.py --workdir=runs/albert

Source: ALBERT (Lan et al. 2019, arXiv 1909.11942) made small; see configs/albert_base.py: word embeddings of half the
width, one set of weights for all layers, n-grams of one to three words masked, the order of sentences. Departs for
speed: the layers of configs/demo.py, four of them, AdamW, many small steps.
Expected: after 2,000 steps, 2.2 minutes on two cores, on held-out rows: 5.20 nat, 1.78 below the unigram baseline,
with 2.0M parameters; the order of sentences right in 59%.
"""

from bert_jax.config import Checkpoints, Config, Data, Model, Phase, use

config = Config(
    name="albert_demo",
    data=Data(
        sources=(use("demo_corpus"),),
        tokenizer=use("sentencepiece", vocab_size=8000),
        rows=use("segment_pair", label="sop"),
    ),
    model=Model(
        vocab_size=8000,
        layers=4,
        width=256,
        heads=4,
        mlp_width=688,
        max_length=128,
        token_types=2,
        positions=use("rotary"),
        norm="pre",
        norm_epsilon=1e-5,
        gated=True,
        embedding_width=128,
        sharing="all",
        init=use("neighbours"),
        dropout=0.0,
        attention_dropout=0.0,
        dtype="auto",
    ),
    objective=use("mlm_pair", masking=use("ngrams", shares=(6, 3, 2))),
    optimizer=use("adamw", b2=0.98),
    unigram_bias=True,
    cooccurrence=5.0,
    phases=(
        Phase(
            steps=2000,
            length=128,
            batch_size=8,
            learning_rate=1e-3,
            schedule=use("wsd", warmup=0.1, decay=0.4),
        ),
    ),
    checkpoints=Checkpoints(every_steps=500),
)
