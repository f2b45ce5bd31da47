"""The report of a run: one self-contained page, from the files of the work folder.

    python -m bert_jax.report --workdir=runs/demo
    python -m bert_jax.report --workdir=runs/demo --png=curves.png

The folder of a fine-tuning, which has a scores.json, gets the page of bert_jax/reporting/task_page.py. Of another it
reads, each file optional; one that is missing leaves out what would show it:
  config.json      the configuration; a variant is {"name": …, "options": {…}}
  metrics.jsonl    one object a logged step: step, loss, learning_rate, tokens_per_second, …
  layers.jsonl     one object per logged step: step; trust_ratio, update_norm, parameter_norm of each layer by name
  evaluation.json  eval_loss, unigram_loss [nat], eval_accuracy, unigram_accuracy, pseudo_perplexity,
                   unigram_perplexity, step, eval_predictions (masked tokens), eval_rows, pseudo_perplexity_tokens
  data.json        splits {name: {documents, sentences, tokens}}, share_of_padding,
                   row_lengths {edges [n + 1], counts [n]}, sources [{name, about, documents}],
                   cleaning as in a store's manifest
  summary.json     train_seconds, total_seconds, tokens_per_second, parameters
  vector_map.json  points [n][2] between 0 and 1, texts [n], vectors: of how many (python -m bert_jax.vector_map)
  fill_mask.json   examples [{text, masks: [[{token, probability}]]}], for each [MASK] the most probable first
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax.reporting import charts, sections, task_page, vector_map
from bert_jax.reporting.layers_log import FILE as LAYERS
from bert_jax.reporting.metrics import FILE, read_metrics
from bert_jax.reporting.style import html_page
from configuration import cli, foreign
from data_pipeline.errors import DataError


@dataclasses.dataclass(frozen=True)
class Run:
    """What the files of a work folder say; empty where a file is missing."""

    config: dict[str, Any]
    records: list[dict[str, Any]]
    layers: list[dict[str, Any]]
    evaluation: dict[str, Any]
    data: dict[str, Any]
    summary: dict[str, Any]
    examples: list[dict[str, Any]]
    vector_map: dict[str, Any]


def write_report(workdir: Path) -> Path:
    """Writes workdir/report.html from what the folder holds, and returns its path.

    Raises:
      DataError: the folder is missing, or a file in it is broken.
    """
    path = workdir / "report.html"
    tuned = (workdir / task_page.SUMMARY).exists()
    with foreign.understood(f"a file of {workdir} that the report shows"):
        cli.write_text(path, task_page.page(workdir) if tuned else page(read_run(workdir), workdir))
    return path


def write_png(workdir: Path, path: Path) -> Path:
    """Writes the run's curves as one picture, such as a README shows, and returns its path.

    Raises:
      DataError: fewer than two steps logged their loss, or a file in it is broken.
    """
    run = read_run(workdir)
    losses = sections.curve(run.records, "loss")
    if losses is None:
        raise DataError(
            f"{workdir / FILE} holds no curve of the loss; train first: python -m bert_jax.train --workdir={workdir}"
        )
    charts.png(
        path,
        losses,
        sections.curve(run.records, "learning_rate"),
        sections.curve(run.records, "tokens_per_second"),
        baseline=run.evaluation.get("unigram_loss"),
        held_out=run.evaluation.get("eval_loss"),
        evaluations=sections.curve(run.records, "eval_loss"),
    )
    return path


def read_run(workdir: Path) -> Run:
    """Reads the files that a report is made of."""
    if not workdir.is_dir():
        raise DataError(f"{workdir} is no folder; give the work folder of a run as --workdir")
    metrics, layers = workdir / FILE, workdir / LAYERS
    return Run(
        config=_read(workdir / "config.json"),
        records=read_metrics(metrics) if metrics.exists() else [],
        layers=read_metrics(layers) if layers.exists() else [],
        evaluation=_read(workdir / "evaluation.json"),
        data=_read(workdir / "data.json"),
        summary=_read(workdir / "summary.json"),
        examples=_read(workdir / "fill_mask.json").get("examples", []),
        vector_map=_read(workdir / vector_map.FILE),
    )


def page(run: Run, workdir: Path) -> str:
    """The whole page as HTML."""
    name = str(run.config.get("name", workdir.resolve().name))
    header = sections.title(run.config, name, run.records)
    header += sections.headline(run.evaluation, run.summary, run.records)
    body = [sections.training(run.records, run.evaluation), sections.layers(run.layers)]
    shown: tuple[tuple[str, Callable[[Any], str], Any], ...] = (
        ("evaluation.json", sections.held_out, run.evaluation),
        ("fill_mask.json", sections.examples, run.examples),
        (vector_map.FILE, vector_map.vector_map, run.vector_map),
        ("data.json", sections.text, run.data),
        ("config.json", sections.configuration, run.config),
    )
    for file, section, content in shown:
        with foreign.understood(workdir / file):
            body.append(section(content))
    body.insert(-1, sections.files(workdir))
    return html_page(f"{name} – pretraining report", header, "".join(body), "from the files of the work folder")


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in the file; empty if there is no file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}); delete it to leave it out of the report") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object; delete it to leave it out of the report")
    return content


def define_flags() -> None:
    """--workdir, --png"""
    cli.workdir_flag()
    flags.DEFINE_string("png", "", "Also write the curves to this file, as one picture for a README.")


def main() -> dict[str, str]:
    """The command."""
    workdir, picture = Path(flags.FLAGS.workdir), flags.FLAGS.png
    figures = {"report": str(write_report(workdir))}
    if picture:
        figures["png"] = str(write_png(workdir, Path(picture)))
    print("\n".join(figures.values()))
    return figures


if __name__ == "__main__":
    cli.run(main, define_flags)
