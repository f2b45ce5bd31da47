"""Sentence vectors whose cosine is how alike two sentences are: SBERT's regression, on STS-B: 5,749 / 1,500.

    python -m bert_jax.finetune --config=configs/tasks/sbert_stsb.py --init_from=path/to/bert --workdir=runs/sbert_stsb

Source: Reimers and Gurevych 2019 (arXiv 1908.10084), section 4.2: mean pooling, squared error of the cosine, four
epochs, batch 16, learning rate 2e-5. TensorFlow Datasets, glue/stsb, which fetches it on the first run; the labels of
its test set are hidden.
Expected: Spearman's correlation 0.8467 on test by BERT-base (table 2).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="sbert_stsb",
    task=use(
        "sentence_vectors",
        loss=use("cosine"),
        texts=("sentence1", "sentence2"),
        label="label",
        label_range=(0, 5),
        pair=("sentence1", "sentence2"),
        score="label",
    ),
    source=use("tfds", name="glue/stsb"),
    length=128,
    batch_size=16,
    epochs=4,
    learning_rate=2e-5,
)
