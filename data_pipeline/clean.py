"""Runs the cleaning rules over all sources, once, before anything else is made of the text.

    parts ─▶ workers: the rules of one document, signatures for the rules of all ─▶ a file a part
    files, in the order of the parts ─▶ which documents go ─▶ the same sources without them

What is kept of a document meanwhile is its name, an excerpt and its signatures; the text is read again when it is
used. So memory is bounded, the result is the same with any number of workers, and finished parts
are not repeated after an interruption.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configuration import variants
from configuration.files import atomic_write, named
from configuration.variants import Variant
from data_pipeline.batches.permutation import hashed
from data_pipeline.cleaning import Duplicates, Remove, Rewrite, Rule
from data_pipeline.errors import DataError
from data_pipeline.preparing.encoding import whole
from data_pipeline.preparing.workers import Workers
from data_pipeline.sources import Document, Part, Source

Rules = tuple[Variant, ...]

VERSION = 2  # of the signatures: of two versions they do not compare
_SAMPLES = 5  # of what each rule removed, in the report
_EXCERPT = 200  # characters


def load_rule(variant: Variant) -> Rule:
    """The rule of a configuration.

    Raises:
      ConfigError: no such rule, or an option that it does not have.
    """
    return variants.load("data_pipeline.cleaning", variant)()


def clean(
    sources: Sequence[Source], rules: Rules, folder: Path, workers: Workers, advance: Callable[[int], None]
) -> tuple[list[Source], dict[str, Any]]:
    """The sources without what the rules remove, and the report.

    Args:
      folder: for unfinished work; what is finished there is not repeated.
      advance: called with the bytes of text of each part that is done.

    Returns:
      Sources that read as the given ones do, and a report: `documents` and `characters` before cleaning, and for each
      of `rules` its name, the documents and characters that it removed (or the documents that it `changed`),
      the documents by `reasons`, and `samples`.

    Raises:
      ConfigError: as `load_rule`.
      DataError: no document is left.
    """
    for rule in rules:
        load_rule(rule)
    if not (folder / "report.json").exists():
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        tasks = []
        for task in workers.map(_Examine(rules), _tasks(sources, folder / "parts")):
            advance(task.size)
            tasks.append(task)
        files = [task.file for task in tasks]
        removed, report = _decided(files, rules, folder)
        with atomic_write(folder / "removed.npz") as opened:
            bounds = np.cumsum([len(stage) for stage in _each(files, "stage")])
            np.savez(opened, removed=removed, bounds=bounds, sources=[task.source for task in tasks])
        with atomic_write(folder / "report.json") as opened:
            opened.write(json.dumps(report).encode())
        shutil.rmtree(folder / "parts")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    with np.load(folder / "removed.npz") as arrays:
        kept, bounds, of_source = arrays["removed"] == 0, arrays["bounds"], arrays["sources"]
    if kept.size and not kept.any():
        most = max(report["rules"], key=lambda rule: rule["documents"])
        message = f"all {kept.size:,} documents, {most['name']} {most['documents']:,} of them; loosen it"
        raise DataError(f"config.data.cleaning removes {message}")
    rewrites = tuple(rule for rule in rules if isinstance(load_rule(rule), Rewrite))
    kept_of_part = np.split(kept, bounds[:-1]) if len(bounds) else []
    cleaned = []
    for i, source in enumerate(sources):
        mine = tuple(kept_of_part[part] for part in np.flatnonzero(of_source == i))
        cleaned.append(dataclasses.replace(source, parts=functools.partial(_parts, source.parts, mine, rewrites)))
    return cleaned, report


def describe(report: Mapping[str, Any]) -> str:
    """The report as lines for a terminal."""
    removed = sum(rule["documents"] for rule in report["rules"])
    share = removed / max(1, report["documents"])
    lines = [f"cleaning removed {removed:,} of {report['documents']:,} documents ({share:.1%})"]
    for rule in report["rules"]:
        said = f"{rule['changed']:,} changed" if "changed" in rule else f"{rule['documents']:,} removed"
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in rule["reasons"].items())
        characters = f" ({rule['characters'] / 1e6:.1f}M characters)" if rule["documents"] else ""
        lines.append(f"  {rule['name']:<16} {said}{characters}{f': {reasons}' if reasons else ''}")
        lines += [f"    {_sample(sample)}" for sample in rule["samples"][:2]]
    return "\n".join(lines)


def _sample(sample: Mapping[str, str]) -> str:
    said = f"“{sample['text'][:70]}…” {sample['reason']}".rstrip()
    return f"{said}: like “{sample['original'][:40]}…”" if "original" in sample else said


# ------------------------------------------------------------------------------------- documents one by one, in workers


@dataclasses.dataclass(frozen=True)
class _Task:
    file: Path
    source: int
    size: int  # bytes of text
    part: Part | None  # none where the file is there already


@dataclasses.dataclass(frozen=True)
class _Examine:
    """Writes what the rules say of each document of a part.

    The file holds, for d documents: `stage` uint8 [d], how many rules it went through before one of them removed it;
    `characters` uint32 [d], then; `signatures.I` for rule I of all, of those that came so far; `changed` [rules];
    `about`, as JSON: each document's id, excerpt and reason.
    """

    rules: Rules

    @functools.cached_property
    def _rules(self) -> list[Rule]:
        return [load_rule(rule) for rule in self.rules]

    def __call__(self, task: _Task) -> _Task:
        if task.part is not None:
            with atomic_write(task.file, durable=False) as opened:
                np.savez(opened, **self._examine(task.part.read()))
        return dataclasses.replace(task, part=None)

    def _examine(self, documents: Iterable[Document]) -> dict[str, Any]:
        stages, characters, about = [], [], []
        signatures: dict[int, list[np.ndarray]] = {
            i: [] for i, r in enumerate(self._rules) if isinstance(r, Duplicates)
        }
        changed = np.zeros(len(self._rules), np.int64)
        for document in documents:
            text, reason, stage = whole(document.text), "", 0
            for stage, rule in enumerate([*self._rules, None]):
                if isinstance(rule, Rewrite):
                    before, text = text, rule.change(text)
                    changed[stage] += text != before
                elif isinstance(rule, Remove):
                    if reason := rule.reason(text):
                        break
                elif rule is not None:
                    signatures[stage].append(rule.signature(text))
            stages.append(stage)
            characters.append(len(text))
            about.append([whole(document.id), " ".join(text[: 2 * _EXCERPT].split())[:_EXCERPT], reason])
        return {
            "stage": np.array(stages, np.uint8),
            "characters": np.array(characters, np.uint32),
            "changed": changed,
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
            **{f"signatures.{i}": np.stack(found) for i, found in signatures.items() if found},
        }


def _tasks(sources: Sequence[Source], folder: Path) -> Iterator[_Task]:
    parts = ((i, part) for i, source in enumerate(sources) for part in source.parts())
    for number, (source, part) in enumerate(parts):
        file = folder / f"{number:06d}.npz"
        yield _Task(file, source, part.size, None if file.exists() else part)


# ------------------------------------------------------------------------------------- all documents, in their order


def _decided(files: Sequence[Path], rules: Rules, folder: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """For each document the rule that removed it, counted from 1, or 0: uint8 [D]; and the report."""
    stage = np.concatenate([np.zeros(0, np.uint8), *_each(files, "stage")])
    removed = np.where(stage < len(rules), stage + 1, 0).astype(np.uint8)
    originals: dict[int, int] = {}  # of the documents that the report shows
    for number, variant in enumerate(rules):
        rule = load_rule(variant)
        if not isinstance(rule, Duplicates):
            continue
        came = np.flatnonzero((stage > number) & ((removed == 0) | (removed > number)))
        rows = (np.cumsum(stage > number) - 1)[came]  # a rule has signatures only of documents that reached it
        with _signatures(files, number, folder) as signatures:
            original = came[rule.originals(signatures, rows)] if len(came) else came
        removed[came[original != came]] = number + 1
        repeats = np.flatnonzero(original != came)
        shown = _few(came[repeats])
        originals |= {int(i): int(original[np.searchsorted(came, i)]) for i in shown}
    return removed, _report(files, rules, removed, originals)


def _each(files: Sequence[Path], name: str) -> Iterator[np.ndarray]:
    """One array of each file, where it has it."""
    for file in files:
        with np.load(file) as arrays:
            if name in arrays:
                yield arrays[name]


@contextlib.contextmanager
def _signatures(files: Sequence[Path], rule: int, folder: Path) -> Iterator[np.ndarray]:
    """The signatures of one rule of all parts, as one array on disk."""
    path, count = folder / "signatures", 0
    array = np.zeros((0, 1), np.uint8)
    try:
        with named(path), open(path, "wb") as opened:
            for array in _each(files, f"signatures.{rule}"):
                opened.write(array.tobytes())
                count += len(array)
        yield np.memmap(path, array.dtype, "r", shape=(count, *array.shape[1:])) if count else array
    finally:
        path.unlink(missing_ok=True)


def _few(documents: np.ndarray) -> list[int]:
    """Some of the documents, the same ones whenever the text is the same."""
    return sorted(documents[np.argsort(hashed(documents), kind="stable")[:_SAMPLES]].tolist())


def _report(files: Sequence[Path], rules: Rules, removed: np.ndarray, originals: Mapping[int, int]) -> dict[str, Any]:
    characters, changed = np.zeros(len(rules) + 1, np.int64), np.zeros(len(rules), np.int64)
    reasons: list[collections.Counter[str]] = [collections.Counter() for _ in rules]
    shown = {number: _few(np.flatnonzero(removed == number + 1)) for number in range(len(rules))}
    wanted = {i for few in shown.values() for i in few}
    wanted |= {originals[i] for i in wanted if i in originals}
    about, first = {}, 0
    for file in files:
        with np.load(file) as arrays:
            here = removed[first : first + len(arrays["stage"])]
            characters += np.bincount(here, arrays["characters"], len(characters)).astype(np.int64)
            changed += arrays["changed"]
            texts = json.loads(arrays["about"].tobytes())
        for document, (number, facts) in enumerate(zip(here.tolist(), texts, strict=True), start=first):
            if number and facts[2]:
                reasons[number - 1][facts[2]] += 1
            if document in wanted:
                about[document] = facts
        first += len(here)
    found = []
    for number, rule in enumerate(rules):
        facts = {"name": rule.name, "documents": int((removed == number + 1).sum())}
        facts |= {"characters": int(characters[number + 1]), "reasons": dict(sorted(reasons[number].items()))}
        if isinstance(load_rule(rule), Rewrite):
            facts["changed"] = int(changed[number])
        found.append(facts | {"samples": [_shown(i, about, originals) for i in shown[number]]})
    return {"documents": len(removed), "characters": int(characters.sum()), "rules": found}


def _shown(document: int, about: Mapping[int, list[str]], originals: Mapping[int, int]) -> dict[str, str]:
    name, text, reason = about[document]
    sample = {"id": name, "text": text, "reason": reason}
    if document in originals:
        sample["original_id"], sample["original"], _ = about[originals[document]]
    return sample


# ------------------------------------------------------------------------------------- the sources, cleaned


def _parts(parts: Callable[[], Iterator[Part]], kept: Sequence[np.ndarray], rewrites: Rules) -> Iterator[Part]:
    for part, keep in zip(parts(), kept, strict=True):
        yield Part(part.size, functools.partial(_read, part.read, keep, rewrites))


def _read(read: Callable[[], Iterable[Document]], kept: np.ndarray, rewrites: Rules) -> Iterator[Document]:
    documents, changes = list(read()), _changes(rewrites)
    if len(documents) != len(kept):
        raise DataError("the text of config.data.sources changed while it was prepared; run again")
    for document in itertools.compress(documents, kept):
        text = whole(document.text)
        for change in changes:
            text = change(text)
        yield dataclasses.replace(document, text=text)


@functools.cache
def _changes(rewrites: Rules) -> list[Callable[[str], str]]:
    rules = [load_rule(rule) for rule in rewrites]
    return [rule.change for rule in rules if isinstance(rule, Rewrite)]
