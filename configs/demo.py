"""A small BERT on real English, in minutes on two CPU cores.

    make pretrain
    python -m bert_jax.pretrain --config=configs/demo.py --workdir=runs/demo

Source: ModernBERT (Warner et al. 2024, arXiv 2412.13663) made small, the recipe that wins in benchmarks/families.py:
rotary positions, LayerNorm before each part, gated units, AdamW, a trapezoid of the learning rate, 30% masks. Departs
for speed: no dropout (less than two epochs), many small steps, rows without padding, attention that starts at the
neighbours, by its biases, and word embeddings that start by co-occurrence.
Expected: held-out cross-entropy about 3 nat below the unigram baseline after two to five minutes of training.

BERT's own layers: --config.model.positions=absolute --config.model.norm=post --config.model.gated=false
--config.model.mlp_width=1024 --config.model.token_types=2

To bring your own text, name it in `sources`, for example use("text_files", paths="my/text/*.txt").
"""

from bert_jax.config import Checkpoints, Config, Data, Model, Phase, use

config = Config(
    name="demo",
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
    objective=use("mlm", mask_rate=0.3),
    optimizer=use("adamw", b2=0.98),
    unigram_bias=True,
    cooccurrence=5.0,
    phases=(
        Phase(
            steps=2000,
            length=128,
            batch_size=8,
            learning_rate=1.5e-3,
            schedule=use("wsd", warmup=0.1, decay=0.4),
        ),
    ),
    checkpoints=Checkpoints(every_steps=100),
    examples=(
        "Paris is the [MASK] of France.",
        "The president of the United [MASK] said on Monday that he would meet the prime minister.",
        "He was born in London and [MASK] in Paris.",
        "The game was played in front of a large [MASK] of people.",
    ),
)
