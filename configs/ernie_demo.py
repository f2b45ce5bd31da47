"""ERNIE 1.0's three stages of masking in small, on real English, in minutes on two CPU cores.

    python -m bert_jax.pretrain --config=configs/ernie_demo.py --workdir=runs/ernie

Source: ERNIE 1.0 (Sun et al. 2019, arXiv 1904.09223, section 3.2) made small: whole words, then phrases, then names are
masked, in three phases of one run. Departs for speed: two layers, no dropout, many small steps, attention that starts
at the neighbours; n-grams of words stand for phrases, so that no list of them has to be made first.
Expected: with 60 steps in each phase, held-out cross-entropy (of single tokens, as everywhere) 0.2 nat below the
unigram baseline.
After all 2,100 steps, 2.5 minutes on one core: 5.65 nat, 1.35 below it. In benchmarks/which_idea_pays.py such stages
score as single tokens do, and after 8,000 steps better by 0.2 points on chunks.
"""

from bert_jax.config import Checkpoints, Config, Data, Model, Phase, Variant, use


def stage(masking: Variant, learning_rate: float, warmup: float, end: float) -> Phase:
    """A third of the run."""
    return Phase(
        steps=700,
        length=128,
        batch_size=8,
        learning_rate=learning_rate,
        schedule=use("linear", warmup=warmup, end=end),
        objective=use("mlm", masking=masking),
    )


config = Config(
    name="ernie_demo",
    data=Data(
        sources=(use("demo_corpus"),),
        tokenizer=use("sentencepiece", vocab_size=8000),
        annotations=(use("capitals"),),
    ),
    model=Model(
        vocab_size=8000,
        layers=2,
        width=256,
        heads=4,
        mlp_width=1024,
        max_length=128,
        activation="relu",
        init=use("neighbours"),
        dropout=0.0,
        attention_dropout=0.0,
    ),
    optimizer=use("adamw", b2=0.98),
    unigram_bias=True,
    phases=(
        stage(use("whole_words"), 1e-3, warmup=0.2, end=0.7),
        stage(use("ngrams", shares=(1, 1, 1)), 7e-4, warmup=0, end=0.5),
        stage(use("units", annotation="capitals"), 3.5e-4, warmup=0, end=0.0),
    ),
    checkpoints=Checkpoints(every_steps=700),
)
