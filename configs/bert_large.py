"""BERT-large (Devlin et al. 2018), 340M parameters.

    python -m data_pipeline.prepare --config=configs/bert_large.py --output=stores/wikipedia
    python -m bert_jax.train --config=configs/bert_large.py --config.data.store=stores/wikipedia --workdir=RUN

Source: arXiv 1810.04805, appendix A.2, and the authors' code: the recipe of bert_base.py with 24 layers of 1024.
Needs: four days on 64 TPU chips in the paper.
Departs: full sentences without next-sentence prediction (RoBERTa, section 4.2, found that no worse).
Expected: 86.7 MNLI-m, 90.9 SQuAD 1.1 F1 in the paper, after fine-tuning.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="bert_large",
    data=Data(sources=(use("tfds", name="wikipedia/20230601.en"),), tokenizer=use("sentencepiece", vocab_size=30522)),
    model=Model(layers=24, width=1024, heads=16, mlp_width=4096, activation="gelu_tanh"),
    optimizer=use("adamw", b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01, bias_correction=False),
    phases=(
        Phase(
            steps=900_000,
            length=128,
            batch_size=256,
            learning_rate=1e-4,
            schedule=use("linear", warmup=10_000, end=0.1, jump=True),
        ),
        Phase(steps=100_000, length=512, batch_size=256, learning_rate=1e-5, schedule=use("linear", warmup=0)),
    ),
)
