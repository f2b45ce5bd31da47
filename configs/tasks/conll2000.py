"""Chunks of English sentences (Tjong Kim Sang and Buchholz 2000): 8,936 sentences to learn from, 2,012 to test.

    python -m bert_jax.finetune --config=configs/tasks/conll2000.py --init_from=runs/demo --workdir=runs/conll2000 \\
        --config.source.train=conll2000.zip/conll2000/train.txt \\
        --config.source.test=conll2000.zip/conll2000/test.txt

Source: the package `conll2000` of nltk_data, `word part-of-speech chunk` a line.
Expected: chunk F1 on test 0.965 by ELECTRA-small, 0.971 by ELECTRA-base (README of google-research/electra).
"""

from bert_jax.config import FineTuning, use

# Named here, since the rarest stand in dev or test alone.
CHUNKS = ("ADJP", "ADVP", "CONJP", "INTJ", "LST", "NP", "PP", "PRT", "SBAR", "UCP", "VP")
config = FineTuning(
    name="conll2000",
    task=use("tagging", labels=("O", *(f"{place}-{chunk}" for chunk in CHUNKS for place in "BI"))),
    source=use("conll", train="conll2000.zip/conll2000/train.txt", test="conll2000.zip/conll2000/test.txt"),
    length=128,
    batch_size=32,
    epochs=5,
    learning_rate=5e-5,
)
