"""Sentence vectors whose cosine is how related two sentences are: SBERT's regression, on SICK: 4,500 / 500 / 4,927.

    python -m bert_jax.finetune --config=configs/tasks/sbert_sick.py --init_from=path/to/bert \\
        --workdir=runs/sbert_sick \\
        --config.source.train=sick2014/SICK_train.txt \\
        --config.source.dev=sick2014/SICK_trial.txt \\
        --config.source.test=sick2014/SICK_test_annotated.txt

Source: Reimers and Gurevych 2019 (arXiv 1908.10084), sections 3 and 4.2: mean pooling, squared error of the cosine,
four epochs, batch 16, learning rate 2e-5, a tenth of the updates to warm up; they train on STS-B. SICK of SemEval-2014
task 1. For another loss: --config.task.loss=cosent.
Expected: no published figure for training on SICK; trained on NLI alone, BERT-base has Spearman's correlation 0.7291 on
SICK's test set (table 1), and with supervision by NLI in SimCSE's way 0.8039.
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="sbert_sick",
    task=use(
        "sentence_vectors",
        loss=use("cosine"),
        texts=("sentence_A", "sentence_B"),
        label="relatedness_score",
        label_range=(0, 5),
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
