"""From text to the store: `python -m data_pipeline.prepare --config=configs/demo.py --output=stores/demo`.

`--inspect=stores/demo`, perhaps with `--html=page.html`, shows one (bert_jax/analysis/inspection.py).

    sources ─▶ parts ─▶ documents ─▶ cleaning ─▶ sentences ─▶ tokens ─▶ shards

The sources come in parts of a few megabytes (data_pipeline/sources). Worker processes turn parts
into finished files beside the output; runs of parts become shards, and the folder gets its name
when all is written. So memory is bounded, the result is the same to the byte with any number of
workers, and a run that was killed resumes after its last finished part.
"""

import collections
import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from configuration import early, variants
from configuration import flags as config_flags
from configuration.files import atomic_write
from configuration.locks import alone_in
from data_pipeline import annotations, checkpoint_tokenizer, clean, overlap
from data_pipeline.config import Data
from data_pipeline.errors import DataError
from data_pipeline.preparing import held_out
from data_pipeline.preparing.encoding import CountWords, EncodePart
from data_pipeline.preparing.progress import shown, waiting
from data_pipeline.preparing.workers import Workers
from data_pipeline.sources import PART_BYTES, Part, Source
from data_pipeline.store import SPLITS, VERSION, ShardFacts, Store, remote
from data_pipeline.store.shards import SHARD_BYTES, write_shards
from data_pipeline.store.writer import open_shards, write_manifest
from data_pipeline.tokenizers import Tokenizer, load_tokenizer

_FIXED_BY = (
    "sources",
    "cleaning",
    "sentences",
    "tokenizer",
    "words",
    "annotations",
    "held_out",
)  # the fields of `Data` that a store depends on
_SAMPLE_BYTES = 128 << 20  # of text that a tokenizer is trained on, evenly spread
_DIFFERENT_WORDS = 1_500_000  # that are counted at once; about 200 MB


def prepare(data: Data, output: Path, *, downloads: Path | None = None, progress: bool = True) -> Store:
    """Makes the store of a configuration, or opens it if it is made already.

    Args:
      output: the store's folder; unfinished work stands beside it as `<output>.preparing`.
      downloads: where sources keep what they fetch; beside the output by default.
      progress: prints what the sources are, and how far each stage is.

    Raises:
      ConfigError, DataError: one line on what cannot be used. Nothing unfinished has the output's name.
    """
    early.quiet()
    downloads = output.parent / "downloads" if downloads is None else downloads
    if store := made_already(data, output):
        _say(progress, f"{output} is prepared already: {_summary(store)}")
        return store
    work = output.with_name(f"{output.name}.preparing")
    busy = DataError(f"another process is preparing {work}; wait for it or give another output")
    try:
        with alone_in(work, busy):
            store = made_already(data, output) or _prepare(data, output, work, downloads, progress)
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            file = error.filename or output.parent
            message = f"the disk of {file} is full; free some space and run again, what is finished is kept"
            raise DataError(message) from None
        raise
    _say(progress, f"prepared {output}: {_summary(store)}")
    return store


def description(data: Data) -> dict[str, Any]:
    """The part of the configuration that a store depends on, as its manifest has it."""
    facts = dataclasses.asdict(data)
    return json.loads(json.dumps({name: facts[name] for name in _FIXED_BY}))


def depends_on(data: Data) -> dict[str, dict[str, str]]:
    """What the store's words and annotations depend on beside their options, such as a package's version, by variant.

    Raises:
      ConfigError: no such variant or option, or something that it needs is missing.
    """
    chosen = [("data_pipeline.words", data.words)]
    chosen += [("data_pipeline.annotations", variant) for variant in data.annotations]
    return {
        variant.name: variants.load(package, variant, "depends_on")()
        for package, variant in chosen
        if hasattr(variants.module(package, variant.name), "depends_on")
    }


def made_already(data: Data, output: str | Path) -> Store | None:
    """The store at `output`, or None where there is nothing.

    Raises:
      DataError: it was made with another configuration or of other text, or something else is there.
    """
    if remote.is_remote(output):
        files, path = remote.connect(str(output))
        if not files.exists(f"{path}/manifest.json"):
            return None
    elif not (place := Path(output)).exists() or (place.is_dir() and not any(place.iterdir())):
        return None
    store = Store.open(output)
    made, wanted = store.manifest.made.get("data", {}), description(data)
    _check_made(output, made, wanted, "data.{}=")
    check_dependencies(store, data)
    if (sources := _still_there(data)) is not None:
        check_inputs(store, sources)
    return store


def _still_there(data: Data) -> list[Source] | None:
    """The sources of a store that is made already, where they can be opened without fetching anything."""
    if any(getattr(variants.module("data_pipeline.sources", v.name), "FETCHES", False) for v in data.sources):
        return None
    try:
        return open_sources(data, Path())  # no folder for downloads: none of these fetches
    except Exception:  # the text is gone or out of reach: the store is all there is
        return None


def check_dependencies(store: Store, data: Data) -> None:
    """Raises DataError if a store was made with another version of the segmenter, or of a list, than there is now."""
    try:
        wanted = depends_on(data)
    except variants.ConfigError:  # one of them is not here: the store is all there is
        return
    made = store.manifest.made.get("depends_on", {})
    _check_made(store.path, made, wanted, "{} of ")


def _check_made(output: Any, made: Mapping[str, Any], wanted: Mapping[str, Any], named: str) -> None:
    """Raises DataError for the first value that a store was not made with."""
    for name, value in wanted.items():
        if made.get(name) != value:
            raise DataError(
                f"{output} was prepared with {named.format(name)}{_short(made.get(name))}, not {_short(value)};"
                " give another output or remove it"
            )


def check_inputs(store: Store, sources: list[Source]) -> None:
    """Raises DataError if the text that a store was made of has changed since.

    A store that was made elsewhere, or whose text is gone, is taken as it is.
    """
    made = store.manifest.made.get("inputs")
    if made is not None and made != inputs_of(sources):
        raise DataError(
            f"{store.path} was prepared from other text: files of config.data.sources have other names, sizes or times "
            "now; give another output or remove it"
        )


def made_of(data: Data, sources: list[Source]) -> dict[str, Any]:
    """What the manifest says of how a store was made, before anything is read."""
    return {"data": description(data), "depends_on": depends_on(data), "inputs": inputs_of(sources)}


def inputs_of(sources: list[Source]) -> str:
    """A hash of the names, sizes and times of what is read."""
    return hashlib.sha256(json.dumps([source.inputs for source in sources]).encode()).hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _summary(store: Store) -> str:
    splits = [(name.replace("_", " "), store.split(name)) for name in SPLITS]
    return ", ".join(f"{name} {split.documents:,} documents of {split.tokens:,} tokens" for name, split in splits)


def _say(progress: bool, line: str) -> None:
    if progress:
        print(line, flush=True)


def _prepare(data: Data, output: Path, work: Path, downloads: Path, progress: bool) -> Store:
    check_variants(data)
    try:
        sources = open_sources(data, downloads)
        for source in sources:
            _say(progress and bool(source.about), source.about)
        _begin(work, data, sources)
        made, size = made_of(data, sources), sum(source.size for source in sources)
        with Workers(data.workers or os.cpu_count() or 1) as workers:
            if data.cleaning:
                with shown("cleaning", size, progress) as advance:
                    sources, made["cleaning"] = clean.clean(sources, data.cleaning, work / "cleaning", workers, advance)
                _say(progress, clean.describe(made["cleaning"]))
            if few := held_out.check_enough(sources, data.held_out):
                _say(progress, few)
            tokenizer = make_tokenizer(data, sources, work, workers, progress)
            encode = EncodePart(work / "tokenizer", data.sentences, data.words, data.annotations, data.held_out)
            annotations.build_all(data.words, data.annotations, tokenizer)  # an error now, not in every worker
            with shown("tokenizing", size, progress) as advance:
                shards = write_shards(sources, encode, tokenizer.vocab_size, work, workers, advance)
        check_splits(shards, data.held_out)
    except DataError:
        shutil.rmtree(work)  # the text has to change, so nothing of it can be used
        raise
    folder = work / "store"
    tokenizer.save(folder / "tokenizer")
    made["sources"] = source_facts(data, sources, shards)
    vocab_size = tokenizer.vocab_size
    opened = {split: open_shards(folder, shards, split, vocab_size) for split in SPLITS}
    with waiting("comparing held-out with training text", progress):
        made["overlap"] = overlap.measure(opened["train"], opened["held_out"], tokenizer, workers.number)
    if said := overlap.describe(made["overlap"]):
        _say(progress, said)
    with waiting("counting tokens and checksums", progress):
        write_manifest(folder, vocab_size=vocab_size, shards=shards, tokenizer=tokenizer.fingerprint, made=made)
    os.rename(folder, output)
    return Store.open(output)


def check_variants(data: Data) -> None:
    """Raises ConfigError where a step or its options are misspelt: before hours of earlier steps."""
    for rule in data.cleaning:
        clean.load_rule(rule)
    variants.load("data_pipeline.sentences", data.sentences)()
    variants.load("data_pipeline.tokenizers", data.tokenizer)
    variants.load("data_pipeline.words", data.words)


def open_sources(data: Data, downloads: Path) -> list[Source]:
    """The configured sources.

    Raises:
      ConfigError, DataError: none, no such source, or nothing to read.
    """
    if not data.sources:
        raise DataError("config.data.sources is empty; name one, such as use('text_files', paths='corpus/*.txt')")
    return [variants.load("data_pipeline.sources", variant)(downloads) for variant in data.sources]


def check_splits(shards: list[ShardFacts], share: float) -> None:
    """Raises DataError where a split has no document: those without a token count no longer."""
    documents = {split: sum(shard.documents for shard in shards if shard.split == split) for split in SPLITS}
    held_out.refuse_empty(documents, share)


def source_facts(data: Data, sources: list[Source], shards: list[ShardFacts]) -> list[dict[str, Any]]:
    """What the manifest says of each source."""
    facts = []
    for i, (variant, source) in enumerate(zip(data.sources, sources, strict=True)):
        mine = [shard for shard in shards if shard.source == i]
        documents = sum(shard.documents for shard in mine)
        facts.append({"name": variant.name, "about": source.about, "bytes": source.size, "documents": documents})
    return facts


def _begin(work: Path, data: Data, sources: list[Source]) -> None:
    """Keeps the finished work of an earlier run if it was on the same text in the same way."""
    way = {
        "data": description(data),
        "depends_on": depends_on(data),
        "inputs": inputs_of(sources),
        "version": [VERSION, clean.VERSION, PART_BYTES, SHARD_BYTES],  # others would not fit what is finished
    }
    begun = json.dumps(way)
    if not (work / "begun.json").exists() or (work / "begun.json").read_text() != begun:
        for name in ("cleaning", "tokenizer", "parts", "shards", "store"):
            shutil.rmtree(work / name, ignore_errors=True)
        with atomic_write(work / "begun.json") as file:
            file.write(begun.encode())
    for name in ("parts", "shards", "store"):
        (work / name).mkdir(exist_ok=True)
    for unfinished in work.rglob(".*.writing"):
        unfinished.unlink()


def make_tokenizer(data: Data, sources: list[Source], work: Path, workers: Workers, progress: bool) -> Tokenizer:
    """The configured tokenizer, in `work/tokenizer` too; the one that is there if an earlier run has finished it."""
    folder = work / "tokenizer"
    if not folder.exists():
        build = variants.load("data_pipeline.tokenizers", data.tokenizer)
        with contextlib.ExitStack() as training:

            def word_counts() -> dict[str, int]:
                counts = _word_counts(data, sources, workers, progress)
                training.enter_context(waiting("training the tokenizer", progress))
                return counts

            tokenizer = build(word_counts)
        unfinished = work / "tokenizer.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        tokenizer.save(unfinished)
        os.rename(unfinished, folder)
    return load_tokenizer(folder)


def _word_counts(data: Data, sources: list[Source], workers: Workers, progress: bool) -> dict[str, int]:
    """The words of a sample of the train documents: all of a small corpus, every n-th part of a large one."""
    total = sum(source.size for source in sources)
    stride = max(1, total // _SAMPLE_BYTES)
    counts: collections.Counter[str] = collections.Counter()
    with shown("counting words", total, progress) as advance:
        for part_counts in workers.map(CountWords(data.held_out), _every(stride, sources, advance)):
            counts.update(part_counts)
            if len(counts) > _DIFFERENT_WORDS:  # half of the words met once go, by a hash
                kept = {word: n for word, n in counts.items() if n > 1 or zlib.crc32(word.encode()) & 1}
                counts = collections.Counter(kept)
    return counts


def _every(stride: int, sources: list[Source], advance: Any) -> Iterator[Part]:
    parts = (part for source in sources for part in source.parts())
    for i, part in enumerate(parts):
        advance(part.size)
        if i % stride == 0:
            yield part


def define_flags() -> None:
    """--config, --output, --downloads"""
    config_flags.config_flag()
    flags.DEFINE_string("output", None, "Folder of the store that is made.", required=True)
    flags.register_validator("output", lambda output: output != "", "must name a folder")
    flags.DEFINE_string("downloads", None, "Folder that keeps what sources fetch; beside the output by default.")


def data_from_flags() -> Data:
    """What the command line's configuration says of the text, with the tokenizer of `init_from` if it has one."""
    config, overrides = config_flags.read(flags.FLAGS.config), config_flags.given()
    source = overrides.get("init_from", config.init_from)
    adopted = checkpoint_tokenizer.adopted(Path(source), config.data, overrides) if source else {}
    return config_flags.override(config, adopted | overrides).data


def main() -> dict[str, Any]:
    """Prepares the store that the command line asks for and gives its figures."""
    flags_ = flags.FLAGS
    started = time.monotonic()
    output = Path(flags_.output)
    downloads = Path(flags_.downloads) if flags_.downloads else None
    store = prepare(data_from_flags(), output, downloads=downloads)
    figures: dict[str, Any] = {"seconds": time.monotonic() - started, "vocab_size": store.vocab_size}
    for name in SPLITS:
        split = store.split(name)
        figures[name] = {"documents": split.documents, "sentences": split.sentences, "tokens": split.tokens}
    return figures


if __name__ == "__main__":
    from configuration import cli

    cli.run(main, define_flags)
