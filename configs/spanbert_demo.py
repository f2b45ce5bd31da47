"""A small SpanBERT on real English, in minutes on two CPU cores.

    python -m bert_jax.pretrain --config=configs/spanbert_demo.py --workdir=runs/spanbert

Source: SpanBERT (Joshi et al. 2019, arXiv 1907.10529) made small; see configs/spanbert_base.py: spans of words are
masked and predicted from their boundaries too, in rows of one text each. Departs for speed: the encoder of
configs/demo.py, many small steps.
Expected: after 2,000 steps, 1.6 minutes on two cores, on held-out rows: 5.59 nat, 1.42 below the unigram baseline, for
single tokens, as everywhere; of the tokens of spans 19% are right, and from their boundaries alone 8%.
"""

from bert_jax.config import Checkpoints, Config, Data, Model, Phase, use

config = Config(
    name="spanbert_demo",
    data=Data(
        sources=(use("demo_corpus"),),
        tokenizer=use("sentencepiece", vocab_size=8000),
        rows=use("doc_sentences"),
    ),
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
    objective=use("span_boundary"),
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
