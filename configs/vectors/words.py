"""Are words alike that people find alike? Vectors of single words, read without context.

    python -m bert_jax.vector_suite --config=configs/vectors/words.py --models=runs/demo --workdir=runs/words

Source: WordSim-353 (Finkelstein et al. 2002), how related, and SimLex-999 (Hill et al. 2015), how alike in meaning;
both in a package that is fetched on the first run (28 MB).
Expected: Spearman's correlation 0.41 on SimLex-999 by word2vec on Wikipedia (Hill et al. 2015, figure 6); people agree
to 0.67.
"""

from bert_jax.config import VectorSet, VectorSuite, use

config = VectorSuite(
    name="words",
    sets=(
        VectorSet("wordsim353", use("pairs"), use("packaged", name="wordsim353")),
        VectorSet("simlex999", use("pairs"), use("packaged", name="simlex999")),
    ),
)
