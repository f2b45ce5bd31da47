"""ALBERT-base (Lan et al. 2019), 12M parameters: factorised embeddings, one set of weights for all layers.

    python -m data_pipeline.prepare --config=configs/albert_base.py --output=stores/english
    python -m bert_jax.train --config=configs/albert_base.py --config.data.store=stores/english --workdir=RUN

Source: arXiv 1909.11942, sections 3.1 and 4.1: embeddings of 128, all weights shared, LAMB without bias correction and
without trust ratio on biases and LayerNorm (the authors' code), 125,000 steps of 4,096 rows of 512 tokens, peak 1.76e-3
after 3,125 steps of warm-up, n-grams of one to three words masked as 1/n, sentence order beside the masks, dropout 0 as
in the authors' version 2, tanh GELU, SentencePiece of 30,000.
Expected: 80.1 on average over SQuAD 1.1 and 2.0, MNLI, SST-2 and RACE in the paper's table 2, after fine-tuning (not
checked).
Needs: the paper's models ran on 64 to 512 Cloud TPU v3 chips; 2.6e11 tokens.
Text: text/*.txt, a blank line between documents: English Wikipedia and books.
Departs: n-grams never cover each other, where the authors' do; a document of one sentence is cut in its middle, where
theirs became next-sentence pairs; every row is full, where the paper's are shorter in one case of ten.
Not checked: that the decay is linear to zero.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="albert_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=30000, lowercase=True),
        rows=use("segment_pair", label="sop"),
    ),
    model=Model(
        vocab_size=30000,
        embedding_width=128,
        sharing="all",
        activation="gelu_tanh",
        dropout=0.0,
        attention_dropout=0.0,
        dtype="bfloat16",
    ),
    objective=use("mlm_pair", masking=use("ngrams", shares=(6, 3, 2))),
    optimizer=use("lamb", variant="albert", eps=1e-6, weight_decay=0.01),
    clip_norm=1.0,
    phases=(
        Phase(
            steps=125_000,
            length=512,
            batch_size=4096,
            learning_rate=1.76e-3,
            schedule=use("linear", warmup=3125),
        ),
    ),
)
