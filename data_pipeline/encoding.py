"""What a worker does with a part: documents to tokens, or to the counts of their words."""

import collections
import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from configuration import variants
from configuration.variants import Variant
from data_pipeline.cleaning import comparable
from data_pipeline.sentences import Splitter
from data_pipeline.sources import Document, Part
from data_pipeline.store import SPLITS
from data_pipeline.store_writer import Piece, atomic_write
from data_pipeline.tokenizers import END, Tokenizer, load_tokenizer
from data_pipeline.words import WordStarts

_CHARACTERS_AT_ONCE = 1 << 22  # of the lines that are encoded together


def split_of(document: Document, held_out: float) -> str:
    """The split of a document, by a hash of its comparable text: other documents play no part.

    Args:
      held_out: the share of all documents that are held out.
    """
    digest = hashlib.blake2b(comparable(document.text).encode("utf-8", "replace"), digest_size=8).digest()
    return "held_out" if int.from_bytes(digest, "big") < held_out * 2**64 else "train"


@dataclasses.dataclass(frozen=True)
class CountWords:
    """Counts the words of a part's documents, split at whitespace; held-out documents teach no tokenizer."""

    held_out: float

    def __call__(self, part: Part) -> collections.Counter[str]:
        counts: collections.Counter[str] = collections.Counter()
        for document in part.read():
            if split_of(document, self.held_out) == "train":
                counts.update(whole(document.text).split())
        return counts


@dataclasses.dataclass(frozen=True)
class Task:
    """A part on its way to a file; it carries no part where the file, or its shard, is there already."""

    shard: int
    source: int
    file: Path
    size: int  # bytes of text
    part: Part | None


@dataclasses.dataclass(frozen=True)
class EncodePart:
    """Writes the tokens of a task's part to its file; gives the task back without the part."""

    tokenizer_folder: Path
    sentences: Variant
    words: Variant
    held_out: float

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.tokenizer_folder)

    @functools.cached_property
    def _split_sentences(self) -> Splitter:
        return variants.load("data_pipeline.sentences", self.sentences)()

    @functools.cached_property
    def _word_starts(self) -> WordStarts:
        return variants.load("data_pipeline.words", self.words)(self.tokenizer)

    def __call__(self, task: Task) -> Task:
        if task.part is not None:
            save_pieces(task.file, self.pieces(task.part))
        return dataclasses.replace(task, part=None)

    def pieces(self, part: Part) -> dict[str, Piece]:
        """The tokens of a part's documents, by split."""
        documents: dict[str, list[Document]] = {split: [] for split in SPLITS}
        for document in part.read():
            documents[split_of(document, self.held_out)].append(document)
        return {split: self.encode(documents[split]) for split in SPLITS}

    def encode(self, documents: Iterable[Document]) -> Piece:
        """Documents without a token are left out, and so are sentences."""
        ids, sentences_of = [], []
        lines: list[Line] = []
        for document in documents:
            text = whole(document.text).replace(END, "")
            sentences = self._split_sentences(text)
            ids.append(document.id)
            sentences_of.append(len(sentences))
            lines += lines_of(text, sentences, self.tokenizer.sentences_alone)
        tokens, lengths = encode_lines(self.tokenizer, lines)
        document_of = np.repeat(np.arange(len(ids)), sentences_of)
        sentences_left = np.bincount(document_of[lengths > 0], minlength=len(ids))
        word_starts = self._word_starts(tokens, lengths)
        word_starts[(np.cumsum(lengths) - lengths)[lengths > 0]] = True  # a sentence starts with a word
        return Piece(
            tokens=tokens,
            word_starts=word_starts,
            sentence_lengths=lengths[lengths > 0],
            document_lengths=sentences_left[sentences_left > 0],
            ids=[name for name, left in zip(ids, sentences_left, strict=True) if left],
        )


def whole(text: str) -> str:
    """Text without halves of surrogate pairs, which some JSON has and no encoding of text can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Line(NamedTuple):
    """Sentences of a document with nothing between them; most often one."""

    text: str
    ends: Sequence[int]  # of each sentence in the text
    continued: bool  # whether text of the same document stands before it


def lines_of(text: str, sentences: Sequence[str], alone: bool) -> list[Line]:
    """A document's sentences, those together that no white space parts: their pieces depend on each other.

    Args:
      alone: they never do.
    """
    groups: list[list[str]] = []
    end = 0  # of the sentence before, in the text
    for sentence in sentences:
        found = text.find(sentence, end)
        if groups and found == end and not alone:
            groups[-1].append(sentence)
        else:
            groups.append([sentence])
        end = max(found, end) + len(sentence)
    return [Line(*_joined(group), continued=i > 0) for i, group in enumerate(groups)]


def _joined(sentences: Sequence[str]) -> tuple[str, list[int]]:
    """The text of sentences, every run of white space one space, and where each ends in it."""
    if len(sentences) == 1:
        return sentences[0], [len(sentences[0])]
    parts = [" ".join(sentence.split()) for sentence in sentences]
    return "".join(parts), list(itertools.accumulate(map(len, parts)))


def encode_lines(tokenizer: Tokenizer, lines: Sequence[Line]) -> tuple[np.ndarray, np.ndarray]:
    """tokens [n] uint32 of all lines, and the number of tokens of each sentence, uint32."""
    single = [line for line in lines if len(line.ends) == 1]
    encoded = [
        tokenizer.encode_lines([line.text for line in batch], [line.continued for line in batch])
        for batch in _batches(single)
    ]
    tokens = np.concatenate([tokens for tokens, _ in encoded] or [np.zeros(0, np.uint32)])
    lengths = np.concatenate([lengths for _, lengths in encoded] or [np.zeros(0, np.uint32)])
    if len(single) == len(lines):
        return tokens, lengths
    rest = zip(np.split(tokens, np.cumsum(lengths)[:-1]), lengths[:, None], strict=True)
    parts = [next(rest) if len(line.ends) == 1 else tokenizer.encode_sentences(*line) for line in lines]
    return np.concatenate([tokens for tokens, _ in parts]), np.concatenate([lengths for _, lengths in parts])


def _batches(lines: Sequence[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    characters = 0
    for line in lines:
        batch.append(line)
        characters += len(line.text)
        if characters >= _CHARACTERS_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def save_pieces(file: Path, pieces: dict[str, Piece]) -> None:
    with atomic_write(file, durable=False) as opened:
        write_pieces(opened, pieces)


def write_pieces(file: IO[bytes], pieces: dict[str, Piece]) -> None:
    """Writes what `load_pieces` reads."""
    arrays: dict[str, Any] = {}
    for split, piece in pieces.items():
        for name, value in vars(piece).items():
            array = np.frombuffer(json.dumps(value).encode(), np.uint8) if name == "ids" else value
            arrays[f"{split}.{name}"] = array
    np.savez(file, **arrays)


def load_pieces(file: Path | IO[bytes]) -> dict[str, Piece]:
    with np.load(file) as arrays:
        return {
            split: Piece(
                tokens=arrays[f"{split}.tokens"],
                word_starts=arrays[f"{split}.word_starts"],
                sentence_lengths=arrays[f"{split}.sentence_lengths"],
                document_lengths=arrays[f"{split}.document_lengths"],
                ids=json.loads(arrays[f"{split}.ids"].tobytes()),
            )
            for split in SPLITS
        }
