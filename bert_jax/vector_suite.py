"""Evaluates the vectors of encoders on labelled sets, without training: similarity, pairs, retrieval, clustering.

    python -m bert_jax.vector_suite --config=configs/vectors/english.py --models=runs/demo,runs/simcse/huggingface \\
        --workdir=runs/vectors

Run again, it resumes. The work folder then holds table.json and table.txt. --pooling, --normalise, … say how vectors
are read from all models; without them, as each encoder's folder says. A field after
a set's name is for that set: --config.sick_relatedness.source.test=FILE.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax import embed
from bert_jax.config import VectorSet, VectorSuite
from bert_jax.embedding import evaluations
from bert_jax.embedding.embedder import Embedder
from bert_jax.embedding.evaluations import Evaluation
from bert_jax.runtime import command
from configuration import cli
from configuration import flags as config_flags
from configuration.foreign import FormatError
from configuration.variants import ConfigError, load, nearest
from data_pipeline.labelled import Record, digest

TABLE, TEXT = "table.json", "table.txt"


def define_flags() -> None:
    """--models, --sets"""
    flags.DEFINE_list("models", None, "Folders of encoders, any that bert_jax.load opens.", required=True)
    flags.DEFINE_list("sets", [], "Names of the suite's sets; all of them if not given.")


def main() -> dict[str, Any]:
    """The command."""
    suite: VectorSuite = config_flags.read(cli.FLAGS.config, ("sets",), "VectorSuite")
    suite = override(suite, config_flags.given())
    sets = chosen(suite, cli.FLAGS.sets)
    table = run(suite.name, sets, cli.FLAGS.models, embed.open_embedder, Path(cli.FLAGS.workdir))
    print(describe(table), end="")
    return table


def override(suite: VectorSuite, values: Mapping[str, str]) -> VectorSuite:
    """The suite with the overrides of the command line; a set is named by its name or its number."""
    number = {each.name: i for i, each in enumerate(suite.sets)}
    named = {}
    for field, text in values.items():
        first, dot, rest = field.partition(".")
        named[f"sets.{number[first]}.{rest}" if dot and first in number else field] = text
    return config_flags.override(suite, named)


def chosen(suite: VectorSuite, names: Sequence[str]) -> list[VectorSet]:
    """The sets of these names; all without names.

    Raises:
      ConfigError: there is none of that name.
    """
    known = {each.name: each for each in suite.sets}
    for name in names:
        if name not in known:
            raise ConfigError(f"--sets={name}: the suite {suite.name} has no such set{nearest(name, known)}")
    return [each for each in suite.sets if not names or each.name in names]


def run(
    name: str, sets: Sequence[VectorSet], models: Sequence[str], open_: Callable[[str], Embedder], workdir: Path
) -> dict[str, Any]:
    """Measures what is not measured yet; writes and returns the table.

    Raises:
      ConfigError, DataError: something that the configuration names is missing or does not fit.
    """
    if len(set(models)) < len(models):
        raise FormatError(f"--models={','.join(models)} names a folder twice; give each once")
    opened: list[tuple[VectorSet, Evaluation, list[Record]]] = []
    for each in sets:
        try:
            records = load("data_pipeline.labelled", each.source)().read(each.split)
            opened.append((each, load(evaluations.PACKAGE, each.evaluation)(), records))
        except ValueError as error:
            raise type(error)(f"set {each.name}: {error}") from None
    rows: dict[str, Any] = {each.name: {"metric": e.main, "texts": len(r), "models": {}} for each, e, r in opened}
    for model in models:
        embedder = open_(model)
        weights = embed.fingerprint(embedder)
        for each, evaluation, records in opened:
            print(f"{model}: {each.name}", file=sys.stderr, flush=True)
            said = digest([record.where, record.values] for record in records)  # files are sets of STS
            facts = {"model": weights, "set": config_flags.to_dict(each), "records": said}
            done = workdir / "figures" / f"{each.name}-{digest([facts])[:16]}.json"
            if not done.exists():
                done.parent.mkdir(parents=True, exist_ok=True)
                cli.write_json(done, evaluation.evaluate(embedder, records))
            rows[each.name]["models"][model] = json.loads(done.read_text())
    table = {"suite": name, "models": list(models), "sets": rows}
    cli.write_json(workdir / TABLE, table)
    cli.write_text(workdir / TEXT, describe(table))
    return table


def describe(table: Mapping[str, Any]) -> str:
    """The table as text: the main figure of each set first."""
    lines = [f"{table['suite']}, vectors without training"]
    for name, row in table["sets"].items():
        lines += ["", f"{name}: {row['metric']}, {row['texts']:,} records"]
        for model, figures in row["models"].items():
            others = ", ".join(f"{other} {value:.4f}" for other, value in figures.items() if other != row["metric"])
            lines.append(f"  {model:40}{figures[row['metric']]:8.4f}   {others}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    named = (config_flags.vector_suite_flag, cli.workdir_flag, define_flags, embed.readout_flags, cli.outside_flags)
    cli.run(command.computing(main), *named)
