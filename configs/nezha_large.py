"""NEZHA-large, Chinese (Wei et al. 2019), 325M parameters.

    python -m data_pipeline.prepare --config=configs/nezha_large.py --output=stores/chinese
    python -m bert_jax.train --config=configs/nezha_large.py --config.data.store=stores/chinese --workdir=RUN

Source: arXiv 1909.00204: functional relative positions, batch 5,120, peak 1e-4, LAMB, mixed precision; optimizer and
schedule of huawei-noah/Pretrained-Language-Model, NEZHA-TensorFlow/optimization.py (its trust ratio, linear decay
that is continuous at the end of the warm-up, global clip 1.0).
Expected: a model trained at length 128 that reads 512 (base model, CMRC F1: 86.5, against 58.4 for absolute).
Needs: the paper's large model ran on ten servers of eight V100 of 32 GB (not checked); set phases.0.microbatches on
fewer.
Text: text/*.txt, one sentence a line, a blank line between documents: Chinese Wikipedia, Baike, news. Whole words of
jieba are masked, as in the paper (extra `chinese`).
Departs: full sentences without next-sentence prediction; our own SentencePiece vocabulary of the size of BERT's Chinese
one.
Not checked: the number of steps, which is ours, and the warm-up, which is the base model's.
"""

from bert_jax.config import Config, Data, Model, Phase
from configuration.variants import Variant, use

config = Config(
    name="nezha_large",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        sentences=use("newline"),
        words=use("jieba"),
        tokenizer=use("sentencepiece", vocab_size=21128, character_coverage=0.9995),
    ),
    model=Model(
        vocab_size=21128,
        layers=24,
        width=1024,
        heads=16,
        mlp_width=4096,
        positions=use("functional_relative"),
        activation="gelu_tanh",
        dtype="bfloat16",
        remat="dots",
    ),
    objective=use("mlm", masking=use("whole_words")),
    optimizer=Variant("lamb", {"variant": "nezha", "eps": 1e-6, "weight_decay": 0.01}),
    clip_norm=1.0,
    phases=(
        Phase(
            steps=250_000,
            length=128,
            batch_size=5120,
            learning_rate=1e-4,
            schedule=use("linear", warmup=1800),
        ),
    ),
)
