"""Sentiment of whole film reviews (Pang and Lee 2004, polarity v2.0): 1,000 of each kind, 750 words on average.

    python -m bert_jax.finetune --config=configs/tasks/movie_reviews.py --init_from=runs/demo \\
        --workdir=runs/movie_reviews \\
        --config.source.train=movie_reviews.zip/movie_reviews

Source: the package `movie_reviews` of nltk_data, a file a review in `pos/` and `neg/`. Of a long review a quarter of
the row is its head and the rest its tail (Sun et al. 2019, arXiv 1905.05583). An encoder of 128 positions needs
--config.length=128.
Expected: accuracy 0.872 by an SVM on single words (Pang and Lee 2004, ten-fold).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="movie_reviews",
    task=use("classification", truncation="head_tail"),
    source=use("folders", train="movie_reviews.zip/movie_reviews", classes=("neg", "pos")),
    length=512,
    batch_size=16,
    epochs=5,
    learning_rate=3e-5,
)
