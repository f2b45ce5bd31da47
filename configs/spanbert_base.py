"""SpanBERT-base (Joshi et al. 2019), 110M parameters: spans are masked, and predicted from their boundaries too.

    python -m data_pipeline.prepare --config=configs/spanbert_base.py --output=stores/english
    python -m bert_jax.train --config=configs/spanbert_base.py --config.data.store=stores/english --workdir=RUN

Source: arXiv 1907.10529, sections 3 and 4.2: single texts of at most 512 tokens, spans of 1 to 10 words by a geometric
distribution of p 0.2 up to 15% of the tokens, [MASK], random or kept by the span, the boundary objective with position
embeddings of 200 and at most 15 tokens of a span; 2.4M steps of 256 rows, AdamW with eps 1e-8 and decay 0.1, peak 1e-4
after 10,000 steps of warm-up, linear decay, dropout 0.1; BERT's cased vocabulary.
Expected: SQuAD F1 92.4 (1.1) and 83.6 (2.0) in the authors' repository, where BERT has 88.5 and 76.5; after
fine-tuning (not checked).
Needs: 3.1e11 tokens; the paper's large model took 15 days on 32 V100.
Text: text/*.txt, a blank line between documents: English Wikipedia and books.
Departs: SentencePiece of as many pieces for the cased WordPiece; the budget is rounded to the nearest token, theirs up;
a row's first words are drawn as often as the others (bert_jax/objectives/masking/spans.py); bfloat16 for fp16.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="spanbert_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=28996),
        rows=use("doc_sentences"),
    ),
    model=Model(vocab_size=28996, dtype="bfloat16"),
    objective=use("span_boundary", masking=use("spans", p=0.2, longest=10), replacement=use("per_unit"), longest=15),
    optimizer=use("adamw", b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.1),
    phases=(
        Phase(
            steps=2_400_000,
            length=512,
            batch_size=256,
            learning_rate=1e-4,
            schedule=use("linear", warmup=10_000),
        ),
    ),
)
