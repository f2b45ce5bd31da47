"""Entailment and relatedness of pairs at once, on one encoder (Marelli et al. 2014): 4,500 / 500 / 4,927 pairs.

    python -m bert_jax.finetune --config=configs/tasks/sick.py --init_from=runs/demo --workdir=runs/sick \\
        --config.source.train=sick2014/SICK_train.txt --config.beside.0.source.train=sick2014/SICK_train.txt \\
        --config.source.dev=sick2014/SICK_trial.txt --config.beside.0.source.dev=sick2014/SICK_trial.txt \\
        --config.source.test=sick2014/SICK_test_annotated.txt \\
        --config.beside.0.source.test=sick2014/SICK_test_annotated.txt

Source: SICK of SemEval-2014 task 1, tables with a header.
Expected: no published figure for both at once; apart, see sick_entailment.py and sick_relatedness.py.
"""

from bert_jax.config import Beside, FineTuning, use

PAIR = {"text": "sentence_A", "second": "sentence_B"}
SOURCE = use(
    "delimited",
    train="sick2014/SICK_train.txt",
    dev="sick2014/SICK_trial.txt",
    test="sick2014/SICK_test_annotated.txt",
)
config = FineTuning(
    name="sick",
    task=use("classification", label="entailment_judgment", **PAIR),
    source=SOURCE,
    beside=(Beside("relatedness", use("regression", label="relatedness_score", metric="pearson", **PAIR), SOURCE),),
    length=128,
    batch_size=64,
    epochs=5,
    learning_rate=5e-5,
    best_metric="mean",
)
