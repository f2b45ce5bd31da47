"""From text to a report and a PyTorch checkpoint, in one command.

    python -m bert_jax.pretrain --config=configs/demo.py --workdir=runs/demo

Each stage writes its result atomically, so that the same command, run again after any interruption, resumes: prepare →
train → evaluate → export → fill in masks → report. An export or an example that fails does not cost the report: the
error ends the command once that is written.
"""

import contextlib
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax.analysis.flops import training_flops
from bert_jax.config import Config, Model
from bert_jax.formats.table import Params
from bert_jax.modeling.bert import count_parameters
from bert_jax.objectives import parts_of
from bert_jax.reporting.metrics import read_metrics
from bert_jax.runtime import command
from bert_jax.training.start import config_from_flags
from configuration import cli, foreign
from configuration import flags as config_flags
from data_pipeline.store import Store


def started_flag() -> None:
    """--started"""
    flags.DEFINE_float("started", 0, "When the clock of total_seconds started, in Unix seconds; now if not given.")


def main() -> dict[str, Any]:
    """The command."""
    started = cli.FLAGS.started or time.time()
    return pretrain(config_from_flags(), Path(cli.FLAGS.workdir), started, cli.FLAGS.accept_changes)


def pretrain(config: Config, workdir: Path, started: float, accept_changes: bool = False) -> dict[str, Any]:
    """Runs every stage; gives the figures of summary.json. `accept_changes` is that of `train`.

    Raises:
      ConfigError, DataError: as its stages; what made the export or an example fail, once the report is written.
    """
    # Each stage imports what it needs, so that none waits for the others' packages.
    from bert_jax.runtime import precision
    from bert_jax.train import train
    from bert_jax.training.setup import check, data_facts
    from bert_jax.training.state import abstract_state

    config = precision.settled(config, workdir)
    mesh = check(config)  # a mistake in the last phase should not wait until the text is prepared
    warn_of_export(config.model, abstract_state(config, mesh)["params"])
    store = prepared(config, workdir)

    stage("pretraining", workdir / "checkpoints")
    trained_before = (workdir / "metrics.jsonl").exists()
    cli.write_json(workdir / "data.json", data_facts(config, store))
    training = train(config, workdir, accept_changes)

    stage("evaluation on held-out documents", workdir / "evaluation.json")
    evaluation = evaluated(workdir, training["steps"])

    stage("PyTorch export", workdir / "huggingface")
    from bert_jax.convert import export

    failures: list[Exception] = []
    with put_off(failures):
        export(workdir, workdir / "huggingface", checkpoints=config.checkpoints.folder)

    stage("report", workdir / "report.html")
    from bert_jax.encoder import load
    from bert_jax.fill_mask import fill_mask
    from bert_jax.report import write_report

    encoder = load(workdir, checkpoints=config.checkpoints.folder)
    filled = []
    for text in config.examples:
        with put_off(failures):
            filled.append({"text": text, "masks": fill_mask(encoder, text)})
    cli.write_json(workdir / "fill_mask.json", {"examples": filled})
    figures = {
        **evaluation,
        "train_seconds": training["train_seconds"],
        "tokens_per_second": median(workdir, "tokens_per_second"),
        "parameters": count_parameters(config.model, parts_of(config)),
        "training_flops": training_flops(config),
        **(total(workdir) if trained_before else {"total_seconds": time.time() - started}),
    }
    cli.write_json(workdir / "summary.json", figures)
    write_report(workdir)
    if failures:
        print(f"everything except what failed is in {workdir}, with report.html", file=sys.stderr)
        raise failures[0]
    print(farewell(workdir, store.path, figures, config.examples))
    return figures


@contextlib.contextmanager
def put_off(failures: list[Exception]) -> Iterator[None]:
    """Prints an error of a stage that no other needs, and raises it at the end."""
    try:
        yield
    except Exception as error:
        failures.append(error)
        print(f"this failed, the rest goes on: {cli.describe(error)}", file=sys.stderr)


def warn_of_export(model: Model, params: Params) -> None:
    """Prints a warning if the export will fail after training; `params` may be abstract."""
    from bert_jax.convert import check_exportable

    try:
        check_exportable(model, params)
    except foreign.FormatError as error:
        print(
            f"warning: the PyTorch export at the end will fail: {error}; bert_jax.train pretrains without one",
            file=sys.stderr,
        )


def prepared(config: Config, workdir: Path) -> Store:
    """The store that the configuration names, or the work folder's own, made now if it is not there."""
    from bert_jax.training.setup import check_trained_vocabulary, open_store

    if not config.data.store:
        check_trained_vocabulary(config)
        stage("text → tokenizer → store", workdir / "store")
        from data_pipeline.prepare import prepare

        prepare(config.data, workdir / "store", downloads=workdir / "downloads")
    return open_store(config, workdir)


def evaluated(workdir: Path, step: int) -> dict[str, Any]:
    """The evaluation of this step: the one on disk, or made now."""
    from bert_jax.evaluate import describe, evaluate

    path = workdir / "evaluation.json"
    figures = foreign.read_json(path) if path.exists() else {}
    if figures.get("step") != step:
        figures = evaluate(workdir)
        cli.write_json(path, figures)
    print(describe(figures))
    return figures


def total(workdir: Path) -> dict[str, float]:
    """total_seconds of an earlier run that was not interrupted, if there was one."""
    path = workdir / "summary.json"
    earlier = foreign.read_json(path) if path.exists() else {}
    return {name: value for name, value in earlier.items() if name == "total_seconds"}


def median(workdir: Path, name: str) -> float | None:
    """The middle one of a metric's logged values."""
    values = [record[name] for record in read_metrics(workdir / "metrics.jsonl") if name in record]
    return statistics.median(values) if values else None


def stage(name: str, result: Path) -> None:
    """Prints the next stage and where its result goes."""
    print(f"\n── {name} → {result}", file=sys.stderr)


def in_words(figures: Mapping[str, Any]) -> str:
    """The held-out loss, beside the unigram baseline where tokens are predicted."""
    if "eval_loss" not in figures:
        return f"held-out loss {figures['held_out_loss']:.3f}" if "held_out_loss" in figures else "not evaluated"
    below = figures["gain_over_unigram"]
    return f"held-out loss {figures['eval_loss']:.3f} nat, {below:.3f} below the unigram baseline"


def farewell(workdir: Path, store: Path, figures: dict[str, Any], examples: Sequence[str]) -> str:
    """Where everything is, and what to do next, as commands that work in the folder where this one was given."""
    interpreter = Path(sys.executable)
    python = interpreter.relative_to(Path.cwd()) if interpreter.is_relative_to(Path.cwd()) else "python"
    example = shlex.quote(examples[0] if examples else "Some text with a [MASK] in it.")
    config, folder, prepared = (shlex.quote(str(x)) for x in (cli.FLAGS.config, workdir, store))
    fills = "eval_loss" in figures  # the run has a head that predicts tokens
    fill_mask = f"\n  {python} -m bert_jax.fill_mask --workdir={folder} --text={example}" if fills else ""
    auto = "AutoModelForMaskedLM" if fills else "AutoModel"
    return f"""
{figures["parameters"] / 1e6:.1f}M parameters trained in {figures["train_seconds"] / 60:.1f} min; {in_words(figures)}.

  {workdir}/report.html      curves, data, evaluation, examples: open it in a browser
  {workdir}/huggingface/     opens with transformers' {auto} and AutoTokenizer
  {workdir}/checkpoints/     to resume from
  {workdir}/tensorboard/     the curves for TensorBoard
  {store}/           the tokenised text

Next:{fill_mask}
  {python} -m bert_jax.pretrain --config={config} --workdir={folder}_relative --config.data.store={prepared} \\
      --config.model.positions=functional_relative
  {python} -m bert_jax.pretrain --config={config} --workdir={folder}_mine \\
      --config.data.sources.0=text_files --config.data.sources.0.paths='your/text/*.txt'"""


if __name__ == "__main__":
    flags_of_run = (config_flags.config_flag, cli.workdir_flag, cli.accept_changes_flag)
    cli.run(command.computing(main), *flags_of_run, started_flag)
