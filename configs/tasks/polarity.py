"""Sentiment of single sentences from film reviews (Pang and Lee 2005, sentence polarity v1.0): 5,331 of each kind.

    python -m bert_jax.finetune --config=configs/tasks/polarity.py --init_from=runs/demo --workdir=runs/polarity \\
        --config.source.train=sentence_polarity.zip

Source: the package `sentence_polarity` of nltk_data, two files of one sentence a line.
Expected: accuracy 0.79 by NB-SVM on bigrams (Wang and Manning 2012, ten-fold); dev is a tenth, by a hash of the text.
Seen there: 0.741 from the encoder of `make pretrain` (3.7M parameters, one seed), TF-IDF with regression 0.800.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="polarity",
    task=use("classification"),
    source=use("folders", train="sentence_polarity.zip", form="lines", classes=("negative=*.neg", "positive=*.pos")),
    length=128,
    batch_size=32,
    epochs=4,
    learning_rate=5e-5,
)
