"""ModernBERT-base (Warner et al. 2024), 149M parameters: rows of 1,024 tokens, then of 8,192.

    python -m data_pipeline.prepare --config=configs/modern_base.py --output=stores/english
    python -m bert_jax.train --config=configs/modern_base.py --config.data.store=stores/english --workdir=RUN

Source: arXiv 2412.13663 and AnswerDotAI/ModernBERT, yamls/modernbert: 22 pre-LayerNorm layers, every third global and
the others within 64 tokens to each side, rotary positions, 1,152 gated units, no biases, no token types, masks on 30%,
rows without padding whose documents do not see each other; b1 0.9, b2 0.98, eps 1e-6, weight decay 1e-5. Batches of
4.7e6 tokens: 1.719e12 tokens in rows of 1,024, at 8e-4 after 3e9 tokens; 2.5e11 in rows of 8,192 at 3e-4, where the
base of the global layers' positions becomes 160,000; another 5e10 in which the rate falls as 1 - sqrt to a thousandth.
`convert` writes it as a ModernBertForMaskedLM.
Expected: 88.4 on the GLUE development sets for the released model (not checked).
Needs: 2e12 tokens, which the paper's 8 H100 did in about ten days (not checked). A shorter run of the same recipe sets
the `steps` of all three phases, and their schedules' `warmup` and `decay` with them.
Text: text/*.txt, a blank line between documents: ModernBERT's is English from the web, books, papers and code, and
better parts of it for the last 5e10 tokens.
Departs: AdamW and clipping at 1 for StableAdamW; one text for all phases; the batch is whole from the start, where
theirs grows over 5e10 tokens; no dropout, where theirs is 0.1 on attention's output alone; a truncated normal for the
depth-scaled start; SentencePiece BPE of the same size for byte-level BPE.
"""

from dataclasses import replace

from bert_jax.config import Config, Data, Evaluation, Model, Phase, use

long_rows = Phase(
    steps=52_981,
    length=8192,
    batch_size=576,
    microbatches=6,  # of 12 rows on each of 8 devices, as theirs; rows and devices must divide
    learning_rate=3e-4,
    schedule=use("wsd", warmup=0, decay=0),
    positions=use("", base=160_000.0, local_base=10_000.0),
)

config = Config(
    name="modern_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=50368, algorithm="bpe"),
        rows=use("best_fit"),
    ),
    model=Model(
        vocab_size=50368,
        layers=22,
        mlp_width=1152,
        max_length=8192,
        token_types=0,
        window=64,
        global_every=3,
        positions=use("rotary"),
        norm="pre",
        norm_epsilon=1e-5,
        gated=True,
        biases=False,
        dropout=0.0,
        attention_dropout=0.0,
        dtype="bfloat16",
    ),
    objective=use("mlm", mask_rate=0.3),
    optimizer=use("adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=1e-5),
    clip_norm=1.0,
    phases=(
        Phase(
            steps=364_303,
            length=1024,
            batch_size=4608,
            microbatches=6,
            learning_rate=8e-4,
            schedule=use("wsd", warmup=636, decay=0),
        ),
        long_rows,
        replace(long_rows, steps=10_596, schedule=use("wsd", warmup=0, decay=10_596, end=0.001)),
    ),
    evaluation=Evaluation(batch_size=8),
)
