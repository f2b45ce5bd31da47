"""ELECTRA-small (Clark et al. 2020), 14M parameters: detecting which tokens a small generator replaced.

    python -m data_pipeline.prepare --config=configs/electra_small.py --output=stores/english
    python -m bert_jax.train --config=configs/electra_small.py --config.data.store=stores/english --workdir=RUN
    python -m bert_jax.convert --workdir=RUN --output=RUN/discriminator
    python -m bert_jax.convert --workdir=RUN --part=generator --output=RUN/generator

Source: arXiv 2003.10555, appendix A, and the authors' code (google-research/electra): 12 layers of 256, tables of 128,
a generator of a quarter of the width, length 128, 1M steps of 128 rows, Adam without bias correction, eps 1e-6, peak
5e-4 after 10,000 steps of warm-up, then linear to zero; 15% of the tokens, 85% of them [MASK]; loss MLM + 50 ×
detection.
Expected: 79.9 on the GLUE development sets, after fine-tuning (BERT of that size: 75.1), in the paper's table 1 (not
checked).
Needs: four days on one V100 in the paper; 1.6e10 tokens.
Text: text/*.txt, a blank line between documents: the paper's is English Wikipedia and books.
Departs: full sentences of isolated documents instead of two segments a row with one in ten rows shorter, so that all
token types are the first; places are drawn without repetition; SentencePiece; bf16; within the warm-up the rate does
not decay yet (below 1% of it).
Not checked: the figures against the paper's tables; the published small checkpoint is of a longer run.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="electra_small",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=30522, lowercase=True),
    ),
    model=Model(
        vocab_size=30522,
        layers=12,
        width=256,
        heads=4,
        mlp_width=1024,
        embedding_width=128,
        dtype="bfloat16",
    ),
    objective=use("electra", generator_size=0.25),
    optimizer=use("adamw", b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01, bias_correction=False),
    clip_norm=1.0,
    phases=(
        Phase(
            steps=1_000_000,
            length=128,
            batch_size=128,
            learning_rate=5e-4,
            schedule=use("linear", warmup=10_000, jump=True),
        ),
    ),
)
