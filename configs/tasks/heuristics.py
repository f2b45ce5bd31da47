"""Is shared wording taken for entailment? Learnt from MNLI, tested on 3,000 pairs of templates, half of them entailed.

    python -m bert_jax.finetune --config=configs/tasks/heuristics.py --init_from=path/to/bert --workdir=runs/heuristics

    Learnt from SICK instead: --config.source.learnt=delimited --config.source.learnt.train=sick2014/SICK_train.txt
        --config.source.learnt.dev=sick2014/SICK_trial.txt --config.source.first=sentence_A
        --config.source.second=sentence_B --config.source.label=entailment_judgment --config.source.entailed=ENTAILMENT

Source: the idea and the three heuristics are those of HANS (McCoy et al. 2019, arXiv 1902.01007), whose label of all
that is not entailed is one; templates and words are in data_pipeline/labelled/heuristics.py.
Expected: accuracy near 0.5: what is entailed is found, and little of the rest is told from it. On HANS's pairs BERT
trained on MNLI is right on 0.28 of those that tell who did what (Min et al. 2020, arXiv 2004.11999).
"""

from bert_jax.config import FineTuning, use

config = FineTuning(
    name="heuristics",
    task=use("classification", text="premise", second="hypothesis", groups="group"),
    source=use("heuristics", learnt=use("tfds", name="glue/mnli", dev="validation_matched")),
    length=128,
    batch_size=32,
    epochs=3,
    learning_rate=2e-5,
)
