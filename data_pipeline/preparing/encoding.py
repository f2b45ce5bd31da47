"""What a worker does with a part: documents to tokens, or to the counts of their words."""

import collections
import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from configuration import variants
from configuration.files import atomic_write
from configuration.variants import Variant
from data_pipeline import annotations
from data_pipeline.annotations import Annotate
from data_pipeline.cleaning import comparable
from data_pipeline.sentences import Splitter
from data_pipeline.sources import Document, Part
from data_pipeline.store import SPLITS
from data_pipeline.store.writer import Piece
from data_pipeline.tokenizers import END, Tokenizer, load_tokenizer

_CHARACTERS_AT_ONCE = 1 << 22  # of the lines that are encoded together


def split_of(document: Document, held_out: float) -> str:
    """The split of a document, by a hash of its comparable text, independent of other documents.

    Args:
      held_out: the share of all documents that are held out.
    """
    return "held_out" if is_held_out(document.text, held_out) else "train"


def is_held_out(text: str, share: float, seed: int = 0) -> bool:
    """Whether a text is among the `share` of all texts that a hash holds out; white space plays no part."""
    salt = (seed % (1 << 64)).to_bytes(8, "little")  # of seed 0 it is BLAKE2's default
    digest = hashlib.blake2b(comparable(text).encode("utf-8", "replace"), digest_size=8, salt=salt).digest()
    return int.from_bytes(digest, "big") < share * 2**64


@dataclasses.dataclass(frozen=True)
class CountWords:
    """Counts the words of a part's documents, split at whitespace; held-out documents do not train the tokenizer."""

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
    annotations: tuple[Variant, ...]
    held_out: float

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.tokenizer_folder)

    @functools.cached_property
    def _split_sentences(self) -> Splitter:
        return variants.load("data_pipeline.sentences", self.sentences)()

    @functools.cached_property
    def _annotate(self) -> Mapping[str, Annotate]:
        return annotations.build_all(self.words, self.annotations, self.tokenizer)

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
        ids, sentences_of, lines = [], [], Lines()
        for document in documents:
            text = whole(document.text).replace(END, "")
            sentences = self._split_sentences(text)
            ids.append(document.id)
            sentences_of.append(len(sentences))
            lines.add(text, sentences, self.tokenizer.sentences_alone)
        tokens, lengths = lines.encode(self.tokenizer)
        document_of = np.repeat(np.arange(len(ids)), sentences_of)
        sentences_left = np.bincount(document_of[lengths > 0], minlength=len(ids))
        return Piece(
            tokens=tokens,
            annotations=annotations.annotated(self._annotate, tokens, lengths),
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


class Lines:
    """Texts that are encoded separately: mostly single sentences, else several with nothing between them.

    Attributes:
      texts: the lines.
      continued: of each, whether text of the same document stands before it.
      ends: of those that hold several sentences, by the line's number, where each ends in its text.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.continued: list[bool] = []
        self.ends: dict[int, list[int]] = {}

    def add(self, text: str, sentences: list[str], alone: bool) -> None:
        """A document's sentences, those together that no white space parts: their pieces depend on each other.

        Args:
          alone: they never do.
        """
        if not sentences:
            return
        if not alone and True in (glued := follows_at_once(text, sentences)):
            firsts = [i for i, after in enumerate(glued) if not after]
            groups = zip(firsts, [*firsts[1:], len(sentences)], strict=True)
            sentences = [self._joined(sentences[first:last], i) for i, (first, last) in enumerate(groups)]
        self.texts += sentences
        self.continued += [False, *[True] * (len(sentences) - 1)]

    def _joined(self, sentences: list[str], number: int) -> str:
        """The text of sentences, where they are several with every run of white space one space."""
        if len(sentences) == 1:
            return sentences[0]
        parts = [" ".join(sentence.split()) for sentence in sentences]
        self.ends[len(self.texts) + number] = list(itertools.accumulate(map(len, parts)))
        return "".join(parts)

    def encode(self, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
        """tokens [n] uint32 of all lines, and the number of tokens of each sentence, uint32."""
        texts, continued = self.texts, self.continued
        if self.ends:
            single = [i for i in range(len(texts)) if i not in self.ends]
            texts, continued = [texts[i] for i in single], [continued[i] for i in single]
        encoded = [tokenizer.encode_lines(texts[part], continued[part]) for part in _batches(texts)]
        tokens = np.concatenate([tokens for tokens, _ in encoded] or [np.zeros(0, np.uint32)])
        lengths = np.concatenate([lengths for _, lengths in encoded] or [np.zeros(0, np.uint32)])
        if not self.ends:
            return tokens, lengths
        rest = zip(np.split(tokens, np.cumsum(lengths)[:-1]), lengths[:, None], strict=True)
        parts = [
            tokenizer.encode_sentences(text, self.ends[i], self.continued[i]) if i in self.ends else next(rest)
            for i, text in enumerate(self.texts)
        ]
        return np.concatenate([tokens for tokens, _ in parts]), np.concatenate([lengths for _, lengths in parts])


def follows_at_once(text: str, sentences: Sequence[str]) -> list[bool]:
    """Of each sentence of a text, whether nothing stands between it and the one before."""
    stands, glued = text.startswith, [False] * len(sentences)
    end = text.find(sentences[0]) + len(sentences[0])
    for i, sentence in enumerate(sentences[1:], 1):
        if stands(sentence, end):
            glued[i] = True
        elif stands(sentence, end + 1):  # after one space, as most often; quicker than to search
            end += 1
        else:
            end = max(end, text.find(sentence, end))
        end += len(sentence)
    return glued


def _batches(texts: Sequence[str]) -> Iterator[slice]:
    """Stretches of lines that are encoded together."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    last = np.flatnonzero(np.diff(ends // _CHARACTERS_AT_ONCE, append=-1))
    yield from itertools.starmap(slice, itertools.pairwise([0, *(last + 1).tolist()]))


def save_pieces(file: Path, pieces: dict[str, Piece]) -> None:
    with atomic_write(file, durable=False) as opened:
        write_pieces(opened, pieces)


def write_pieces(file: IO[bytes], pieces: dict[str, Piece]) -> None:
    """Writes what `load_pieces` reads."""
    arrays: dict[str, Any] = {}
    for split, piece in pieces.items():
        arrays[f"{split}.tokens"] = piece.tokens
        arrays[f"{split}.sentence_lengths"] = piece.sentence_lengths
        arrays[f"{split}.document_lengths"] = piece.document_lengths
        arrays[f"{split}.ids"] = np.frombuffer(json.dumps(piece.ids).encode(), np.uint8)
        arrays |= {f"{split}.annotations.{name}": values for name, values in piece.annotations.items()}
    np.savez(file, **arrays)


def load_pieces(file: Path | IO[bytes]) -> dict[str, Piece]:
    with np.load(file) as arrays:
        return {
            split: Piece(
                tokens=arrays[f"{split}.tokens"],
                annotations={
                    name.removeprefix(f"{split}.annotations."): arrays[name]
                    for name in arrays.files
                    if name.startswith(f"{split}.annotations.")
                },
                sentence_lengths=arrays[f"{split}.sentence_lengths"],
                document_lengths=arrays[f"{split}.document_lengths"],
                ids=json.loads(arrays[f"{split}.ids"].tobytes()),
            )
            for split in SPLITS
        }
