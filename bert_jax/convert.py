"""To and from PyTorch's layout: config.json, model.safetensors and the tokenizer's files.

python -m bert_jax.convert --workdir=runs/demo --output=runs/demo/huggingface
python -m bert_jax.convert --workdir=runs/electra --part=generator --output=runs/electra/generator
python -m bert_jax.convert --source=path/to/bert-base-uncased --output=imported

With --pooling, the folder is one of sentence-transformers, whose vectors are those of `bert_jax.embed`:

python -m bert_jax.convert --workdir=runs/demo --output=vectors --pooling=mean --whiten=sentences.txt --dimensions=128
"""

import contextlib
import dataclasses
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from absl import flags

from bert_jax import config
from bert_jax.embedding import readout as readouts
from bert_jax.embedding import whitening
from bert_jax.embedding.readout import Readout
from bert_jax.encoder import Encoder
from bert_jax.formats import family as family_names
from bert_jax.formats import folder, huggingface, native, sentence_transformers
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Params
from bert_jax.modeling import bert
from configuration import cli
from configuration.foreign import FormatError
from configuration.variants import Variant, names, nearest
from data_pipeline.texts import open_texts

CHUNK = 8192  # texts whose vectors are in memory at once


def define_flags() -> None:
    """--workdir, --source, --output, --family, --part"""
    flags.DEFINE_string(
        "workdir", "", "Work folder of a run, or any folder with an encoder, to write in PyTorch's layout."
    )
    flags.DEFINE_string("source", "", "Checkpoint of another project to bring into ours.")
    flags.DEFINE_string("output", None, "Folder to write.", required=True)
    flags.DEFINE_string("family", "", "With --workdir, the model_type to write; if not given, the one that fits.")
    flags.DEFINE_string(
        "part", "", "With --workdir, another encoder that the objective trains beside the model, such as generator."
    )


def vector_flags() -> None:
    """--pooling, --normalise, --whiten, --fit, --column, --dimensions"""
    flags.DEFINE_string("pooling", "", "Write a folder of sentence-transformers with this pooling: cls, mean, max, …")
    flags.DEFINE_bool("normalise", True, "With --pooling, vectors of length 1.")
    flags.DEFINE_string("whiten", "", "With --pooling, a file of texts (.txt, .jsonl, .parquet) to fit a whitening on.")
    flags.DEFINE_enum("fit", "whitening", ["whitening", "pca", "flow"], "With --whiten, what is fit on these texts.")
    flags.DEFINE_string("column", "text", "With --whiten, the field or column that holds the text.")
    flags.DEFINE_integer("dimensions", 0, "With --pooling, numbers of a vector; 0 for all.", lower_bound=0)


def main() -> dict[str, Any]:
    """The command."""
    workdir, source, output = cli.FLAGS.workdir, cli.FLAGS.source, Path(cli.FLAGS.output)
    if bool(workdir) == bool(source):
        raise FormatError("give either --workdir (to PyTorch's layout) or --source (from it)")
    if not cli.FLAGS.pooling and (cli.FLAGS.whiten or cli.FLAGS.dimensions):
        raise FormatError("--whiten and --dimensions make vectors, which are pooled: give --pooling too, such as mean")
    if workdir:
        given = cli.FLAGS
        where = {"step": given.step, "store": given.store, "checkpoints": given.checkpoints}
        vectors = vectors_of if given.pooling else None
        opened = export(Path(workdir), output, given.family, given.part, **where, vectors=vectors)
    else:
        opened = import_(Path(source), output)
    figures = {
        "output": str(output),
        "files": sorted(os.listdir(output)),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(opened.params)),
        "tokenizer": opened.tokenizer is not None,
        "transforms": list(opened.transforms),
    }
    which = f" ({', '.join(opened.transforms)} of the weights)" if opened.transforms else ""
    print(f"{output}: {figures['parameters'] / 1e6:.1f}M parameters{which}, {', '.join(figures['files'])}")
    return figures


def export(
    workdir: Path,
    output: Path,
    family: str = "",
    part: str = "",
    *,
    step: str = "",
    store: str = "",
    checkpoints: str = "",
    vectors: Callable[[folder.Opened], Readout] | None = None,
) -> folder.Opened:
    """Writes an encoder in PyTorch's layout, with its tokenizer if it has one; returns what was written.

    Args:
      workdir: a work folder, or any folder that `bert_jax.load` opens.
      output: a folder that is not there, is empty, or holds an earlier export.
      family: a file of bert_jax/formats/families; if not given, the one the encoder came from, or the first that
        expresses it.
      part: another encoder that the objective of a work folder trains, to export instead of the model.
      step: of a work folder, the checkpoint's step or "best"; if not given, the newest.
      store, checkpoints: of a work folder, where they are outside it.
      vectors: how vectors are read, for a folder of sentence-transformers, which holds the encoder without heads; if
        not given, as the encoder's folder says.

    Raises:
      FormatError: nothing to export, no such part, an encoder that the family cannot express, a task's head that no
        class has, or an output that is in use.
    """
    opened = folder.read(workdir, step, store, checkpoints)
    opened = part_of(opened, part) if part else opened
    readout = vectors(opened) if vectors else opened.readout
    if readout is not None:
        kept = bert.encoder_parts(opened.model).keys() | {"pooler"}
        params = {name: arrays for name, arrays in opened.params.items() if name in kept}
        opened = dataclasses.replace(opened, params=params, names={}, task=None, readout=readout)
    check_pooling(opened.task)
    with written_whole(output) as temporary:
        ids = None
        if opened.tokenizer is not None:
            t = opened.tokenizer
            ids = {"pad_token_id": t.pad_id, "bos_token_id": t.cls_id, "eos_token_id": t.sep_id}
            t.export_huggingface(temporary, opened.model.max_length, opened.model.token_types > 0)
        params, left_out = exchanged(opened)
        own = [family_names.named(ours, theirs) for ours, theirs in opened.names.items()]
        said = label_names(opened.task) if opened.task else None
        write = lambda params: huggingface.write(
            opened.model, params, temporary, family or opened.family, ids, own, said
        )
        try:
            write(params)
        except FormatError:  # no class has the heads that were trained beside those that came with the encoder
            if not opened.kept & params.keys():
                raise
            left_out += sorted(opened.kept & params.keys())
            params = {name: part for name, part in params.items() if name not in opened.kept}
            write(params)
        if readout is not None:
            sentence_transformers.write(readout, opened.model, temporary)
    for name in left_out:
        why = f"--part={name} writes it" if name in opened.encoders else "no class in PyTorch's layout has it too"
        print(f"left out: {name}; {why}", file=sys.stderr)
    return dataclasses.replace(opened, params=params)


def vectors_of(opened: folder.Opened) -> Readout:
    """How the flags say that vectors are read, with a whitening or PCA that is fit on a file of texts."""
    f = cli.FLAGS
    if not f.whiten:
        return readouts.chosen(opened.readout, opened.model, f.pooling, f.normalise, dimensions=f.dimensions)
    if f.fit == "flow":
        raise FormatError(
            "--fit=flow: sentence-transformers has no module for a flow; give --fit=whitening, or make vectors with "
            "bert_jax.embed and pass them through `python -m bert_jax.flow`"
        )
    texts = open_texts(Path(f.whiten), f.column)
    plain = readouts.chosen(opened.readout, opened.model, f.pooling, normalised=False)
    encoder = Encoder(opened.model, opened.params, opened.tokenizer)
    if encoder.tokenizer is None:
        raise FormatError(f"{f.workdir} has no tokenizer, so text cannot be tokenized")
    embedder, stream = encoder.embedder(plain), texts.read()
    chunks = iter(lambda: list(itertools.islice(stream, CHUNK)), [])
    fitted = whitening.fit(map(embedder, chunks), f.dimensions, f.fit, about={"file": f.whiten})
    return dataclasses.replace(plain, steps=(*plain.steps, fitted)).normalised(f.normalise)


def check_pooling(task: Variant | None) -> None:
    """Raises FormatError for a task whose head reads another vector than the classes of transformers do."""
    pooling = task.options.get("pooling", "cls") if task else "cls"
    if pooling != "cls":
        raise FormatError(
            f"task.pooling is {pooling!r}, and every class of transformers for this task reads [CLS] of the last layer "
            "through the pooler: it would answer otherwise; bert_jax.predict answers from the work folder, and "
            "bert_jax.convert --pooling=mean writes the encoder alone, for vectors"
        )


def label_names(task: Variant) -> Settings:
    """What config.json says of a task's labels; nothing of spans and candidates, which have none."""
    labels = list(task.options.get("labels", ()))
    if task.name == "regression":
        return {"id2label": {"0": "value"}, "label2id": {"value": 0}, "problem_type": "regression"}
    if not labels:
        return {}
    names = {"id2label": {str(i): name for i, name in enumerate(labels)}}
    return names | {"label2id": {name: i for i, name in enumerate(labels)}}


def part_of(opened: folder.Opened, part: str) -> folder.Opened:
    """Another encoder of a work folder as if it were the folder's own.

    Raises:
      FormatError: there is none of this name.
    """
    if part not in opened.encoders:
        raise FormatError(f"--part={part} is no encoder that this objective trains{nearest(part, opened.encoders)}")
    model, params = opened.encoders[part]
    task = opened.tasks.get(part)
    return dataclasses.replace(opened, model=model, params=params, names={}, task=task, encoders={}, kept=frozenset())


def exchanged(opened: folder.Opened) -> tuple[Params, list[str]]:
    """The parts that PyTorch's layout has names for, and the objective's own parts, which have none."""
    known = known_parts(opened.model) | {path.split("/")[0] for path in opened.names}
    return {name: part for name, part in opened.params.items() if name in known}, sorted(opened.params.keys() - known)


def known_parts(model: config.Model) -> set[str]:
    """The names of parts that are no objective's own."""
    return bert.encoder_parts(model).keys() | set(names("bert_jax.modeling.heads"))


def check_exportable(model: config.Model, params: Params) -> None:
    """Raises FormatError if no class in PyTorch's layout has the encoder with these heads; `params` may be abstract."""
    known = known_parts(model)
    huggingface.preferred_family(model, {name: part for name, part in params.items() if name in known})


def import_(source: Path, output: Path) -> folder.Opened:
    """Writes the encoder and tokenizer of another project as a folder of ours; returns what was written.

    Raises:
      FormatError: no encoder there, weights that do not fit (all of them listed), or an output that is in use.
    """
    opened = folder.read(source)
    with written_whole(output) as temporary:
        native.write(opened.model, opened.params, temporary, opened.family)
        if opened.tokenizer is not None:
            opened.tokenizer.save(temporary / "tokenizer")
    return opened


@contextlib.contextmanager
def written_whole(output: Path) -> Iterator[Path]:
    """A temporary folder that replaces `output` when the block succeeds, and is removed when it fails.

    Raises:
      FormatError: `output` holds something other than an earlier export.
    """
    output = output.absolute()
    temporary, replaced = (output.with_name(f".{output.name}.{kind}.{os.getpid()}") for kind in ("new", "old"))
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if output.exists():
            if not output.is_dir() or not set(os.listdir(output)) <= set(os.listdir(temporary)):
                raise FormatError(f"--output={output} holds something else already; give a new folder")
            os.replace(output, replaced)
        os.replace(temporary, output)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    cli.run(main, define_flags, vector_flags, cli.step_flag, cli.outside_flags)
