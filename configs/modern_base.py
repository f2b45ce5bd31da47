"""ModernBERT-base, its pretraining at 1,024 tokens (Warner et al. 2024), 149M parameters.

    python -m data_pipeline.prepare --config=configs/modern_base.py --output=stores/english
    python -m bert_jax.train --config=configs/modern_base.py --config.data.store=stores/english --workdir=RUN

Source: arXiv 2412.13663 and AnswerDotAI/ModernBERT, yamls/modernbert/modernbert-base-pretrain.yaml: 22 pre-LayerNorm
layers, every third global and the others within 64 tokens to each side, rotary positions of base 10,000, 1,152 gated
units, no biases, no token types, masks on 30%, rows without padding whose documents do not see each other, a trapezoid
of the learning rate with its peak at 8e-4 after 3e9 tokens, batches of 4,608 rows, 1.719e12 tokens, b1 0.9, b2 0.98,
eps 1e-6, weight decay 1e-5. `convert` writes it as a ModernBertForMaskedLM.
Expected: 88.4 on the GLUE development sets for the released model, which has seen another 3e11 tokens in rows of 8,192
(not checked).
Needs: 1.7e12 tokens, which the paper's 8 H100 did in about eight days (not checked). A shorter run of the
same recipe sets `--config.phases.0.steps`, and its schedule's `warmup` and `decay` with them.
Text: text/*.txt, a blank line between documents: ModernBERT's is English from the web, books, papers and code.
Departs: AdamW and clipping at 1 for StableAdamW; the batch is whole from the start, where theirs grows over 5e10
tokens; the learning rate falls as 1 - sqrt in the last 5e10 tokens, theirs after the rows of 8,192 tokens; no dropout,
where theirs is 0.1 on attention's output alone; a truncated normal for the depth-scaled start; SentencePiece BPE of the
same size for byte-level BPE.
Not here: the rows of 8,192 tokens, for which the base of the global layers becomes 160,000
(`--config.model.positions.base=160000 --config.model.positions.local_base=10000`).
"""

from bert_jax.config import Config, Data, Model, Phase, use

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
        max_length=1024,
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
            schedule=use("wsd", warmup=636, decay=10_596),
        ),
    ),
)
