"""BERT-base (Devlin et al. 2018), 110M parameters.

    python -m data_pipeline.prepare --config=configs/bert_base.py --output=stores/wikipedia
    python -m bert_jax.train --config=configs/bert_base.py --config.data.store=stores/wikipedia --workdir=runs/bert_base

Source: arXiv 1810.04805, appendix A.2, and the authors' code: 1M steps of 256 rows, 90% of them at length 128,
AdamW without bias correction, learning rate 1e-4, 10,000 steps of warm-up, linear decay that starts from the peak.
Needs: about four days on 16 TPU chips in the paper (Cloud TPU v2/v3).
Departs: full sentences without next-sentence prediction (RoBERTa, section 4.2, found that no worse).
Expected: 84.4 MNLI-m, 88.5 SQuAD 1.1 F1 in the paper, after fine-tuning.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="bert_base",
    data=Data(sources=(use("tfds", name="wikipedia/20230601.en"),), tokenizer=use("sentencepiece", vocab_size=30522)),
    model=Model(activation="gelu_tanh"),
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
