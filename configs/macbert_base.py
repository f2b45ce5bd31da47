"""MacBERT-base (Cui et al. 2020), Chinese, 102M parameters: words are replaced by similar ones instead of [MASK].

    python -m data_pipeline.prepare --config=configs/macbert_base.py --output=stores/chinese
    python -m data_pipeline.similar_words --store=stores/chinese --output=stores/chinese-similar.npz
    python -m bert_jax.train --config=configs/macbert_base.py --config.data.store=stores/chinese --workdir=RUN

Source: arXiv 2004.13922, sections 3.1 and 4.1: n-grams of 1 to 4 words drawn at 40, 30, 20 and 10%; 15% of the words
are predicted, 80% of them replaced by similar words, or by random ones where there are none, 10% by random ones, 10%
left as they are; sentence order; rows of 512 tokens; 21,128 pieces.
Expected: CMRC 2018 dev 67.3 exact match and 87.1 F1 in the paper, where BERT has 64.4 and 84.0; after fine-tuning (not
checked).
Needs: the paper's models ran on one TPU v3-8, or four of them; 2.6e11 tokens here; for the text the extra `chinese`.
Text: text/*.txt, a blank line between documents; the paper has Chinese Wikipedia and an encyclopedia, news and
questions with answers, 5.4e9 words in all.
Departs: starts from scratch, where the paper goes on from BERT's weights (--config.init_from does so); similar words
are those of the store's own text (data_pipeline/similar_words.py), not of word2vec on another; 15% are of the tokens;
words by jieba, not by LTP; a vocabulary of our own.
Not checked: the paper gives steps and rates of its large model alone (2M of 512 rows, 1e-4), which are taken over, with
the batch halved and a warm-up of a hundredth.
"""

from bert_jax.config import Config, Data, Model, Phase, use

config = Config(
    name="macbert_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        sentences=use("chinese"),
        words=use("jieba"),
        tokenizer=use("sentencepiece", vocab_size=21128),
        rows=use("segment_pair", label="sop"),
    ),
    model=Model(vocab_size=21128, activation="gelu_tanh", dtype="bfloat16"),
    objective=use(
        "mlm_pair",
        masking=use("ngrams", shares=(40, 30, 20, 10)),
        replacement=use("similar", file="stores/chinese-similar.npz"),
    ),
    optimizer=use("adamw", b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01),
    phases=(
        Phase(
            steps=2_000_000,
            length=512,
            batch_size=256,
            learning_rate=1e-4,
            schedule=use("linear", warmup=20_000),
        ),
    ),
)
