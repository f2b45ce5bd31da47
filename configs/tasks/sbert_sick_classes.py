"""Sentence vectors from classes of entailment: SBERT's softmax over (u, v, |u − v|), on SICK: 4,500 / 500 / 4,927.

    python -m bert_jax.finetune --config=configs/tasks/sbert_sick_classes.py --init_from=path/to/bert \\
        --workdir=runs/sbert_sick_classes \\
        --config.source.train=sick2014/SICK_train.txt \\
        --config.source.dev=sick2014/SICK_trial.txt \\
        --config.source.test=sick2014/SICK_test_annotated.txt

Source: Reimers and Gurevych 2019 (arXiv 1908.10084), section 3.1: mean pooling, one epoch of 942,069 pairs of SNLI and
MNLI, batch 16, learning rate 2e-5, a tenth of the updates to warm up; here four epochs of SICK, of SemEval-2014 task 1.
Expected: no published figure for training on SICK; trained on NLI, BERT-base has Spearman's correlation 0.7291 with
SICK's relatedness on its test set (table 1).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="sbert_sick_classes",
    task=use(
        "sentence_vectors",
        loss=use("softmax"),
        texts=("sentence_A", "sentence_B"),
        label="entailment_judgment",
        pair=("sentence_A", "sentence_B"),
        score="relatedness_score",
    ),
    source=use(
        "delimited",
        train="sick2014/SICK_train.txt",
        dev="sick2014/SICK_trial.txt",
        test="sick2014/SICK_test_annotated.txt",
    ),
    length=128,
    batch_size=16,
    epochs=4,
    learning_rate=2e-5,
)
