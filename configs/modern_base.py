"""A base model by the best recipe known today: rotary, pre-LayerNorm, gated, 109M parameters.

    python -m data_pipeline.prepare --config=configs/modern_base.py --output=stores/english
    python -m bert_jax.train --config=configs/modern_base.py --config.data.store=stores/english --workdir=RUN

Source: no one paper. MosaicBERT (Portes et al. 2023, arXiv 2312.17482): gated units, masks on 30%, no attention
dropout, AdamW b2 0.98, weight decay 1e-5, peak 5e-4, batches of 4,096 rows, warm-up over 6%. ModernBERT (Warner et al.
2024, arXiv 2412.13663): rotary positions, LayerNorm before each part, no token types, no biases, rows without padding
whose documents do not see each other, a trapezoid of the learning rate that falls as 1 - sqrt. Layers and units are
BERT-base's: 2,048 gated units have the weights of 3,072 plain ones. `convert` writes it as a ModernBertForMaskedLM.
Expected: MosaicBERT-base reports 79.6 on the GLUE development sets, after 70,000 steps at length 128 (this mixture was
not run at full size).
Needs: about 1.13 hours on 8 A100 of 80 GB for MosaicBERT-base to 79.6; 3.7e10 tokens here.
Text: text/*.txt, a blank line between documents: MosaicBERT's is C4.
Departs: from MosaicBERT in positions (its are ALiBi), LayerNorm, biases and schedule (its is linear, down to 2%); from
ModernBERT in attention, which is global in every layer here, depth (22 layers there), optimizer (StableAdamW) and in
the growing batch.
Not checked: the number of steps; that the decay takes a tenth of them.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="modern_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=30522),
        rows=use("best_fit"),
    ),
    model=Model(
        mlp_width=2048,
        max_length=512,
        token_types=0,
        positions=use("rotary"),
        norm="pre",
        norm_epsilon=1e-5,
        gated=True,
        biases=False,
        attention_dropout=0.0,
        dtype="bfloat16",
    ),
    objective=use("mlm", mask_rate=0.3),
    optimizer=use("adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=1e-5),
    clip_norm=1.0,
    phases=(
        Phase(
            steps=70_000,
            length=128,
            batch_size=4096,
            learning_rate=5e-4,
            schedule=use("wsd", warmup=0.06, decay=0.1, end=0.02),
        ),
    ),
)
