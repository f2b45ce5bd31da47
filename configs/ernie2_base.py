"""ERNIE 2.0-base (Sun et al. 2019) on English, 110M parameters: five tasks, learnt one after the other and together.

    python -m data_pipeline.prepare --config=configs/ernie2_base.py --output=stores/english
    python -m bert_jax.train --config=configs/ernie2_base.py --config.data.store=stores/english --workdir=RUN

Each stage is a phase: it brings a new task and goes on with the older ones, one task a step, so that all have had as
many steps at the end: of T = 5 tasks, stage i gives its own task i + 2 parts and each older one 1.

Source: arXiv 1907.12412, sections 3 and 4: the size of BERT-base with an embedding of the task; names masked whole,
capitals, tokens of the document, order of sentences, distance of sentences; Adam with b2 0.98, batches of 393,216
tokens, peak 5e-5, warm-up of 4,000 steps with every task.
Expected: GLUE 80.6 where BERT-base has 78.3, in the paper, after fine-tuning (not checked).
Needs: 48 V100 in the paper; 1.2e11 tokens here.
Text: text/*.txt, a blank line between documents: English Wikipedia and books; the paper adds Reddit and dialogues.
Departs: without the two tasks of discourse and of search logs, whose data is not public; names by their capitals and no
phrases; a cased vocabulary of our own, so that capitals are asked for behind [MASK]; the halves of a text, not parts of
a longer document, for the tokens of the document; linear decay, where the paper's is an inverse square root.
Not checked: 10,000 steps a part, as in the paper's comparison of ways to learn several tasks (table 7).
"""

from bert_jax.config import Config, Data, Model, Phase, use

PART = 10_000  # steps
PEAK = 5e-5
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
        length=512,
        batch_size=768,
        learning_rate=PEAK * left(number),
        schedule=use("linear", warmup=4000, end=left(number + 1) / left(number)),
        objective=use("mixture", objectives=TASKS[: number + 1], shares=shares),
    )


config = Config(
    name="ernie2_base",
    data=Data(
        sources=(use("text_files", paths="text/*.txt"),),
        tokenizer=use("sentencepiece", vocab_size=30522),
        annotations=(use("capitals"), use("capital_letters"), use("sentence_starts")),
        rows=use("segment_pair", label="distance"),
    ),
    model=Model(task_types=len(TASKS), dtype="bfloat16"),
    optimizer=use("adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.01),
    phases=tuple(map(stage, range(len(TASKS)))),
)
