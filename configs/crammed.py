"""Crammed BERT: one GPU, one day (Geiping and Goldstein 2022), about 120M parameters.

    python -m data_pipeline.prepare --config=configs/crammed.py --output=stores/english
    python -m bert_jax.train --config=configs/crammed.py --config.data.store=stores/english --workdir=RUN

Source: arXiv 2212.14034 and JonasGeiping/cramming, config/arch/crammed-bert.yaml and config/train/bert-o4.yaml: 16
pre-LayerNorm layers, length 128, masks on 25%, no dropout in pretraining, AdamW b2 0.98, eps 1e-12, peak 1e-3, clip
0.5, a batch that grows to 8,192 rows by 60% of the budget.
Expected: 78.6 to 80.9 on the GLUE development sets (the paper's runs; not checked which of them these settings are).
Needs: one GPU for 24 hours at 60,000 tokens a second, 5.2e9 tokens. That rate is assumed: measure yours over a hundred
steps and scale the three phases' steps by it.
Text: text/*.txt, a blank line between documents: the paper's best is filtered C4 or the Pile.
Departs: plain GELU of the same number of weights (2304 for gated 3072), biases kept, learned absolute positions for
scaled sinusoidal ones, the head's dense layer kept, one LayerNorm between the embeddings and the first layer,
SentencePiece; the growing batch is three steps, each at its mean.
Not checked: that the triangle of the learning rate has its tip at a quarter of the budget.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="crammed",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=32768, lowercase=True),
    ),
    model=Model(
        vocab_size=32768,
        layers=16,
        mlp_width=2304,
        max_length=128,
        norm="pre",
        dropout=0.0,
        attention_dropout=0.0,
        dtype="bfloat16",
    ),
    objective=use("mlm", mask_rate=0.25),
    optimizer=use("adamw", b1=0.9, b2=0.98, eps=1e-12, weight_decay=0.01),
    clip_norm=0.5,
    phases=(
        Phase(
            steps=4950,
            length=128,
            batch_size=2048,
            microbatches=16,
            learning_rate=1e-3,
            schedule=use("linear", warmup=4950),
        ),
        Phase(
            steps=2520,
            length=128,
            batch_size=5632,
            microbatches=44,
            learning_rate=1e-3,
            schedule=use("linear", warmup=0, end=8 / 15),
        ),
        Phase(
            steps=1980,
            length=128,
            batch_size=8192,
            microbatches=64,
            learning_rate=1e-3 * 8 / 15,
            schedule=use("linear", warmup=0),
        ),
    ),
)
