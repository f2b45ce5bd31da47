"""RoBERTa-base (Liu et al. 2019), 125M parameters.

    python -m data_pipeline.prepare --config=configs/roberta_base.py --output=stores/english
    python -m bert_jax.train --config=configs/roberta_base.py --config.data.store=stores/english --workdir=RUN

Source: arXiv 1907.11692, table 9: full sentences across documents, dynamic masks, no next-sentence prediction, 500k
steps of 8k rows of 512 tokens, Adam b2 0.98, eps 1e-6, peak 6e-4 after 24k steps, linear decay, no clipping.
Expected: MNLI 87.6, SST-2 94.8 after fine-tuning (fairseq's figures for roberta.base; not checked).
Needs: about 2.1e12 tokens; the paper gives a day on 1024 V100 for 100k steps of the large model.
Text: text/*.txt, a blank line between documents; the paper's 160 GB are BookCorpus, Wikipedia, CC-News, OpenWebText
and Stories.
Departs: SentencePiece BPE of the same size for byte-level BPE; documents of a row see each other, as in RoBERTa, but
positions and the vocabulary's special tokens are ours; bfloat16 for fp16.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="roberta_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=50265, algorithm="bpe"),
        rows=use("full_sentences"),
    ),
    model=Model(
        vocab_size=50265,
        token_types=1,
        norm_epsilon=1e-5,
        isolate_documents=False,
        dtype="bfloat16",
    ),
    optimizer=use("adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.01),
    clip_norm=0.0,
    phases=(
        Phase(
            steps=500_000,
            length=512,
            batch_size=8192,
            learning_rate=6e-4,
            schedule=use("linear", warmup=24_000),
        ),
    ),
)
