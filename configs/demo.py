"""A small BERT on real English, in minutes on two CPU cores.

    make pretrain
    python -m bert_jax.pretrain --config=configs/demo.py --workdir=runs/demo

Source: BERT (Devlin et al. 2018) made small; full sentences and dynamic masking from RoBERTa (Liu et al. 2019),
LAMB (You et al. 2019).
Expected: see README.md.

To bring your own text, name it in `sources`:

    use("text_files", paths="your/text/*.txt")
"""

from bert_jax.config import Checkpoints, Config, Data, Model, Phase
from bert_jax.variants import use

config = Config(
    name="demo",
    data=Data(
        sources=(use("demo_corpus"),),
        tokenizer=use("sentencepiece", vocab_size=8000),
        held_out=0.02,
    ),
    model=Model(
        vocab_size=8000,
        layers=2,
        width=256,
        heads=4,
        mlp_width=1024,
        max_length=128,
        dropout=0.0,
        attention_dropout=0.0,
    ),
    phases=(Phase(steps=1000, length=128, batch_size=32, learning_rate=2e-2, schedule=use("linear", warmup=0.1)),),
    checkpoints=Checkpoints(every_steps=50),
    examples=(
        "Paris is the [MASK] of France.",
        "The president of the United [MASK] said on Monday that he would meet the prime minister.",
        "He was born in London and [MASK] in Paris.",
        "The game was played in front of a large [MASK] of people.",
    ),
)
