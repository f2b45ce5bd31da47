"""Whether a sentence follows from another, contradicts it or neither (Marelli et al. 2014): 4,500 / 500 / 4,927 pairs.

    python -m bert_jax.finetune --config=configs/tasks/sick_entailment.py --init_from=runs/demo \\
        --workdir=runs/sick_entailment \\
        --config.source.train=sick2014/SICK_train.txt \\
        --config.source.dev=sick2014/SICK_trial.txt \\
        --config.source.test=sick2014/SICK_test_annotated.txt

    A small encoder compares the two better when it reads each by itself: --config.task.pooling=compared

Source: SICK of SemEval-2014 task 1, tables with a header.
Expected: accuracy on test 0.846 by the best system of SemEval-2014 task 1.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="sick_entailment",
    task=use("classification", text="sentence_A", second="sentence_B", label="entailment_judgment"),
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
