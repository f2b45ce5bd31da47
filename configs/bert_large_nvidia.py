"""BERT-large by NVIDIA's two phases with LAMB, 335M parameters.

    python -m data_pipeline.prepare --config=configs/bert_large_nvidia.py --output=stores/english
    python -m bert_jax.train --config=configs/bert_large_nvidia.py --config.data.store=stores/english --workdir=RUN

Source: NVIDIA/DeepLearningExamples, PyTorch/LanguageModeling/BERT: scripts/configs/pretrain_config.sh (batch, rate,
warm-up, steps), schedulers.py (square-root decay that jumps when the warm-up ends), FusedLAMB of NVIDIA/apex.
Expected: an end loss of 1.24 on Wikipedia and books, next-sentence loss included (as NVIDIA reports it; not checked).
Needs: 8 A100 of 80 GB at 4591 and 1657 sequences a second (as NVIDIA reports it; not checked): 28 and 9 hours.
Text: text/*.txt, a blank line between documents: English Wikipedia and, if you have them, books.
Departs: full sentences and no next-sentence prediction; masks drawn anew each time; bfloat16 for fp16 with loss
scaling; our own SentencePiece vocabulary of the same size.
"""

from bert_jax.config import Config, Data, Model, Phase
from configuration.variants import Variant, use

config = Config(
    name="bert_large_nvidia",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=30522, lowercase=True),
    ),
    model=Model(layers=24, width=1024, heads=16, mlp_width=4096, dtype="bfloat16", remat="dots"),
    optimizer=Variant("lamb", {"variant": "nvidia", "eps": 1e-6, "weight_decay": 0.01}),
    clip_norm=1.0,
    phases=(
        Phase(
            steps=7038,
            length=128,
            batch_size=65536,
            microbatches=128,
            learning_rate=6e-3,
            schedule=use("polynomial", warmup=0.2843, power=0.5, jump=True, first=1),
        ),
        Phase(
            steps=1563,
            length=512,
            batch_size=32768,
            microbatches=256,
            learning_rate=4e-3,
            schedule=use("polynomial", warmup=0.128, power=0.5, jump=True, first=1),
        ),
    ),
)
