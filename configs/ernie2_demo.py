"""ERNIE 2.0's five tasks in small, on real English, in minutes on two CPU cores.

    python -m bert_jax.pretrain --config=configs/ernie2_demo.py --workdir=runs/ernie2
    python -m bert_jax.evaluate --workdir=runs/ernie2 --evaluators=held_out_loss    # each task's loss and accuracy

Source: ERNIE 2.0 (Sun et al. 2019, arXiv 1907.12412) made small; see configs/ernie2_base.py. Departs for speed: two
layers, no dropout, many small steps, attention that starts at the neighbours.
Expected: after a seventh of the steps (20, 40, 60, 80 and 100 in the five phases), on held-out rows, 88% of the
capitals and 84% of the tokens of the document right (79% are in no other half), the order of sentences 1.62 nat where
its labels alone are 1.93, and the distance of sentences still at chance (1.10).
After all 2,100 steps, 3.5 minutes on one core: 89% and 85%, the order of sentences at 1.49 nat, their distance
still at chance (1.09), masked tokens 0.47 nat below the unigram baseline.
In benchmarks/which_idea_pays.py such tasks score below single tokens after as much compute, and above no training.
"""

from bert_jax.config import Checkpoints, Config, Data, Model, Phase, use

PART = 70  # steps
PEAK = 1e-3
TASKS = (
    use("mlm", masking=use("units", annotation="capitals")),
    use("capital_prediction"),
    use("token_document"),
    use("sentence_reordering"),
    use("sentence_distance"),
)


def stage(number: int) -> Phase:
    """The phase that brings task `number`, from 0; the rates of all phases fall along one line."""
    left = lambda stage: 1 - stage * (stage + 1) / (len(TASKS) * (len(TASKS) + 1))
    shares = (*[1] * number, number + 2)
    return Phase(
        steps=sum(shares) * PART,
        length=128,
        batch_size=8,
        learning_rate=PEAK * left(number),
        schedule=use("linear", warmup=0.1, end=left(number + 1) / left(number)),
        objective=use("mixture", objectives=TASKS[: number + 1], shares=shares),
    )


config = Config(
    name="ernie2_demo",
    data=Data(
        sources=(use("demo_corpus"),),
        tokenizer=use("sentencepiece", vocab_size=8000),
        annotations=(use("capitals"), use("capital_letters"), use("sentence_starts")),
        rows=use("segment_pair", label="distance"),
    ),
    model=Model(
        vocab_size=8000,
        layers=2,
        width=256,
        heads=4,
        mlp_width=1024,
        max_length=128,
        task_types=len(TASKS),
        init=use("neighbours"),
        dropout=0.0,
        attention_dropout=0.0,
    ),
    optimizer=use("adamw", b2=0.98),
    unigram_bias=True,
    phases=tuple(map(stage, range(len(TASKS)))),
    checkpoints=Checkpoints(every_steps=700),
)
