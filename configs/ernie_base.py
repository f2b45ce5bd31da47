"""ERNIE 1.0 (Sun et al. 2019) on English, 108M parameters: words, then phrases, then names are masked whole.

    python -m data_pipeline.prepare --config=configs/ernie_base.py --output=stores/words --config.data.annotations=
    python -m data_pipeline.frequent_phrases --store=stores/words --output=stores/phrases.txt
    python -m data_pipeline.prepare --config=configs/ernie_base.py --output=stores/english
    python -m bert_jax.train --config=configs/ernie_base.py --config.data.store=stores/english --workdir=RUN

The three phases of the run differ in their masking alone. Chinese has them too, its words by jieba and its names by a
list: configs/ernie_chinese_demo.py.

Source: arXiv 1904.09223, sections 3.2 and 4: the size of BERT-base, 15% masked in three stages of masking, of which the
first has the words of English as its units; ReLU and rows of 512 tokens as in the released model.
Expected: no figures for English are published; on Chinese XNLI the paper has 78.4, where BERT has 77.2.
Needs: the paper names no machine; 1.3e11 tokens here.
Text: text/*.txt, a blank line between documents: English Wikipedia and books.
Departs: English, where the paper is Chinese; no dialogue model and no next-sentence prediction; the budget of a row is
exact and all units are as likely, where the authors' code draws units by their first token; phrases by mutual
information and names by their capitals, where the authors had an analyser.
Not checked: the paper gives no steps, batch or rates; those here are BERT's, a third of 1M steps each.
"""

from bert_jax.config import Config, Data, Model, Phase, Variant, use


def stage(masking: Variant, learning_rate: float, end: float, warmup: int = 0) -> Phase:
    """A third of the run; the rates of all three make one line."""
    return Phase(
        steps=333_000,
        length=512,
        batch_size=256,
        learning_rate=learning_rate,
        schedule=use("linear", warmup=warmup, end=end),
        objective=use("mlm", masking=masking),
    )


config = Config(
    name="ernie_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=28996),
        annotations=(use("phrases", file="stores/phrases.txt"), use("capitals")),
    ),
    model=Model(vocab_size=28996, activation="relu", dtype="bfloat16"),
    optimizer=use("adamw", b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01),
    phases=(
        stage(use("whole_words"), 9e-5, end=2 / 3, warmup=10_000),
        stage(use("units", annotation="phrases"), 6e-5, end=1 / 2),
        stage(use("units", annotation="capitals"), 3e-5, end=0.0),
    ),
)
