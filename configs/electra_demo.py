"""A small ELECTRA on real English, in minutes on two CPU cores.

    python -m bert_jax.pretrain --config=configs/electra_demo.py --workdir=runs/electra
    python -m bert_jax.convert --workdir=runs/electra --part=generator --output=runs/electra/generator

Source: ELECTRA (Clark et al. 2020, arXiv 2003.10555) made small: a generator of a quarter of the width, the loss
MLM + 50 × detection. Departs for speed: the encoder of configs/demo.py, two layers, no dropout, many small steps.
Expected: after 2,000 steps, 1.6 minutes on two cores, on held-out rows: the generator's loss (mlm_loss) 4.30 nat, and
that of detection (rtd_loss) 0.326, below the 0.359 of the share of replaced tokens alone (11.6%). Of those, 0.7% get a
probability above one half; more takes longer training.
"""

from bert_jax.config import Checkpoints, Config, Data, Model, Phase, use

config = Config(
    name="electra_demo",
    data=Data(sources=(use("demo_corpus"),), tokenizer=use("sentencepiece", vocab_size=8000), rows=use("best_fit")),
    model=Model(
        vocab_size=8000,
        layers=2,
        width=256,
        heads=4,
        mlp_width=688,
        max_length=128,
        token_types=0,
        positions=use("rotary"),
        norm="pre",
        norm_epsilon=1e-5,
        gated=True,
        init=use("neighbours"),
        dropout=0.0,
        attention_dropout=0.0,
        dtype="auto",
    ),
    objective=use("electra"),
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
