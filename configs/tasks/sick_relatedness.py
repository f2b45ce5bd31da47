"""How related two sentences are, from 1 to 5 (Marelli et al. 2014): 4,500 / 500 / 4,927 pairs.

    python -m bert_jax.finetune --config=configs/tasks/sick_relatedness.py --init_from=runs/demo \\
        --workdir=runs/sick_relatedness \\
        --config.source.train=sick2014/SICK_train.txt \\
        --config.source.dev=sick2014/SICK_trial.txt \\
        --config.source.test=sick2014/SICK_test_annotated.txt

    A small encoder compares the two better when it reads each by itself: --config.task.pooling=compared

Source: SICK of SemEval-2014 task 1, tables with a header.
Expected: Pearson's correlation on test 0.828 by the best system of SemEval-2014 task 1.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="sick_relatedness",
    task=use(
        "regression",
        text="sentence_A",
        second="sentence_B",
        label="relatedness_score",
        metric="pearson",
    ),
    source=use(
        "delimited",
        train="sick2014/SICK_train.txt",
        dev="sick2014/SICK_trial.txt",
        test="sick2014/SICK_test_annotated.txt",
    ),
    length=128,
    batch_size=32,
    epochs=5,
    learning_rate=5e-5,
)
