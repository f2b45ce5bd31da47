"""BERT-large in 8599 steps with LAMB at batches of 65,536 and 32,768 rows, 335M parameters.

    python -m data_pipeline.prepare --config=configs/bert_large_lamb_64k.py --output=stores/english
    python -m bert_jax.train --config=configs/bert_large_lamb_64k.py --config.data.store=stores/english --workdir=RUN

Source: You et al. 2019, arXiv 1904.00962: b1 0.9, b2 0.999, eps 1e-6, weight decay 0.01; two stages, of which the
second warms up from zero again.
Expected: SQuAD 1.1 F1 90.58 after 8599 steps (table 1), against 90.40 for the baseline's million steps.
Needs: 1024 TPU v3 chips for 76 minutes in the paper (64 and 32 rows a chip); on fewer, set phases.0.microbatches.
Text: text/*.txt, a blank line between documents: English Wikipedia and books.
Departs: full sentences and no next-sentence prediction; masks drawn anew each time; our own vocabulary.
Not checked: that the 8599 steps are 7038 and 1561 (nine tenths of the baseline's rows, then one tenth); peak rates and
warm-ups are the paper's rules carried on from its 32k row (5e-3, a fifth of the steps), so 5e-3 times the square root
of 2 and two fifths at 64k; the decay is linear, from the peak.
"""

from bert_jax.config import Config, Data, Model, Phase
from configuration.variants import Variant, use

config = Config(
    name="bert_large_lamb_64k",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=30522, lowercase=True),
    ),
    model=Model(
        layers=24,
        width=1024,
        heads=16,
        mlp_width=4096,
        activation="gelu_tanh",
        dtype="bfloat16",
        remat="dots",
    ),
    optimizer=Variant("lamb", {"variant": "paper", "eps": 1e-6, "weight_decay": 0.01}),
    clip_norm=1.0,
    phases=(
        Phase(
            steps=7038,
            length=128,
            batch_size=65536,
            learning_rate=7.07e-3,
            schedule=use("linear", warmup=0.4),
        ),
        Phase(
            steps=1561,
            length=512,
            batch_size=32768,
            learning_rate=5e-3,
            schedule=use("linear", warmup=0.2),
        ),
    ),
)
