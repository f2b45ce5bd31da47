"""Sentence vectors of a file's texts.

    python -m bert_jax.embed --model=runs/demo --input=sentences.txt --output=vectors.npy
    python -m bert_jax.embed --model=DIR --input=corpus.jsonl --column=abstract --output=vectors.parquet

Row i of the output is the vector of text i: of a line, or of a record of JSON-lines or Parquet. The same command
resumes an earlier one that was stopped or killed, and ends with the same bytes.
"""

import hashlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from bert_jax.config import Mesh
from bert_jax.embedding import readout as readouts
from bert_jax.embedding import vector_file
from bert_jax.embedding.embedder import Embedder
from bert_jax.embedding.readout import Readout
from bert_jax.encoder import load
from bert_jax.runtime import command, sharding
from configuration import cli
from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.texts import Texts, open_texts

CHUNK = 8192  # texts that are packed, encoded and written together


def define_flags() -> None:
    """--model, --input, --output, --column, and how vectors are read"""
    flags.DEFINE_string(
        "model", None, "Folder of an encoder: a work folder, or any that bert_jax.load opens.", required=True
    )
    flags.DEFINE_string("input", None, "Text file (one text a line), .jsonl or .parquet.", required=True)
    flags.DEFINE_string("output", None, "File to write, .npy or .parquet.", required=True)
    flags.DEFINE_string("column", "text", "Field of JSON-lines, or column of Parquet, that holds the text.")


def readout_flags() -> None:
    """--pooling, --normalise, --dimensions, --batch_size, --dtype"""
    flags.DEFINE_string(
        "pooling", "", "cls, mean, max, first_last, …; if not given, what the model's folder says, or mean."
    )
    flags.DEFINE_bool("normalise", None, "Vectors of length 1; if not given, what the folder says, or yes.")
    flags.DEFINE_integer("dimensions", 0, "Keep this many leading dimensions of each vector; 0 for all.", lower_bound=0)
    flags.DEFINE_integer(
        "batch_size", 0, "Rows of the longest length that a device encodes at once; 0 for a default.", lower_bound=0
    )
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the matrix products.")


def main() -> dict[str, Any]:
    """The command."""
    output = Path(cli.FLAGS.output)
    vector_file.check_ending(output)
    texts = open_texts(Path(cli.FLAGS.input), cli.FLAGS.column)
    embedder = open_embedder()
    began, before = time.perf_counter(), embed_file(embedder, texts, output, facts())
    seconds = time.perf_counter() - began
    new = texts.number - before
    width = embedder.readout.width(embedder.model)
    went_on = f", {before:,} of them from before" if before else ""
    print(f"{output}: {texts.number:,} vectors of {width}{went_on}; {new / seconds:,.0f} texts a second")
    return {
        "output": str(output),
        "texts": texts.number,
        "resumed_at": before,
        "dimensions": width,
        "seconds": seconds,
        "texts_per_second": new / seconds,
    }


def open_embedder(path: str = "") -> Embedder:
    """The encoder of a folder, or that of --model, with the way that the flags say to read vectors from it.

    Raises:
      FormatError: it has no tokenizer.
    """
    f, path = cli.FLAGS, path or cli.FLAGS.model
    encoder = load(Path(path), f.store, f.checkpoints)
    if encoder.tokenizer is None:
        raise FormatError(f"{path} has no tokenizer, so text cannot be tokenized")
    read = readouts.chosen(encoder.readout, encoder.config, f.pooling, f.normalise, dimensions=f.dimensions)
    devices = jax.local_devices()
    mesh = sharding.make_mesh(Mesh(), devices) if len(devices) > 1 else None
    return encoder.embedder(read, f.batch_size, f.dtype, mesh)


def facts() -> dict[str, Any]:
    """The flags that vectors depend on."""
    names = ("input", "column", "batch_size", "dtype")
    return {name: getattr(cli.FLAGS, name) for name in names}


def embed_file(embedder: Embedder, texts: Texts, output: Path, facts: dict[str, Any], chunk: int = CHUNK) -> int:
    """Writes the vectors of all texts; returns how many were there before.

    Args:
      facts: what the vectors depend on beside the embedder and the texts.
      chunk: texts that are packed and written together; it determines which texts share a row.

    Raises:
      DataError: a text that cannot be read, or fewer of them than there were at first.
    """
    known = facts | {
        "encoder": fingerprint(embedder),
        "file": [texts.number, texts.size, texts.changed],
        "chunk": chunk,
        "devices": [device.device_kind for device in jax.local_devices()],
        "versions": [jax.__version__, np.__version__],
    }
    with vector_file.opened(output, texts.number, embedder.readout.width(embedder.model), known) as file:
        before = file.done
        stream = itertools.islice(texts.read(), before, texts.number)
        with tqdm(total=texts.number, initial=before, unit=" texts", disable=None, smoothing=0.05) as bar:
            for part in in_chunks(stream, chunk):
                file.write(embedder(part, bar.update))
        if file.done < texts.number:
            raise DataError(f"the input had {texts.number:,} texts and has {file.done:,}: it was changed; run again")
    return before


def in_chunks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Lists of `size` texts, the last one shorter."""
    while part := list(itertools.islice(texts, size)):
        yield part


def fingerprint(embedder: Embedder) -> str:
    """A hash of all that determines a text's vector: weights, configuration, tokenizer, readout."""
    hashed = hashlib.blake2b(digest_size=16)
    dense = [step for step in embedder.readout.steps if isinstance(step, readouts.Dense)]
    for leaf in jax.tree.leaves((embedder.params, [(step.kernel, step.bias) for step in dense])):
        hashed.update(np.ascontiguousarray(leaf).tobytes())
    hashed.update(repr((embedder.model, embedder.tokenizer.fingerprint, plain(embedder.readout))).encode())
    return hashed.hexdigest()


def plain(readout: Readout) -> Any:
    """A readout without its arrays."""
    steps = [step.activation if isinstance(step, readouts.Dense) else "normalise" for step in readout.steps]
    return (readout.pooling, steps, readout.max_length, readout.lowercase, readout.prompt)


if __name__ == "__main__":
    cli.run(command.computing(main), define_flags, readout_flags, cli.outside_flags)
