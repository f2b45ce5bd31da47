"""NEZHA-base (Wei et al. 2019), Chinese, functional relative positions and LAMB.

    python -m data_pipeline.prepare --config=configs/nezha_base.py --output=stores/chinese
    python -m bert_jax.train --config=configs/nezha_base.py --config.data.store=stores/chinese --workdir=runs/nezha_base

Source: arXiv 1909.00204, section 4.1: learning rate 1.8e-4, 1,800 steps of warm-up, batch 14,400 (180 rows on each of
80 V100), mixed precision, LAMB; whole words of the segmenter jieba are masked; distances clipped at 64 as in the
authors' code for the Chinese base model.
Needs: about a week on 80 V100 in the paper; for the text the extra `chinese`.
Departs: no next-sentence prediction; the number of steps is not in the paper, 125,000 is a guess; the tokenizer is
trained on the text instead of the authors' 21,128 pieces.
Expected: the paper's gain over BERT at lengths beyond those trained on (CMRC F1 86.5 against 58.4 with absolute
positions, trained at 128 and tested at 512).
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="nezha_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        sentences=use("chinese"),
        words=use("jieba"),
        tokenizer=use("sentencepiece", vocab_size=21128),
    ),
    model=Model(
        vocab_size=21128,
        positions=use("functional_relative", max_distance=64),
        activation="gelu_tanh",
        dtype="bfloat16",
    ),
    objective=use("mlm", masking=use("whole_words")),
    optimizer=use("lamb", variant="nezha"),
    phases=(
        Phase(
            steps=125_000,
            length=128,
            batch_size=14_400,
            learning_rate=1.8e-4,
            schedule=use("linear", warmup=1_800),
        ),
    ),
)
