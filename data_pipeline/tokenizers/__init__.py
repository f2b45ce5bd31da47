"""Tokenizers: one kind a file, each giving a `Tokenizer`.

A kind's file has these functions:

    build(word_counts, *, …options) -> Tokenizer    trains one, or reads a given one
    starts_word(piece) -> bool                      whether a piece of the vocabulary starts a word
    surface(piece) -> bytes                         its text in UTF-8, after a space where it has one

and, where the package's own do not fit,

    words(lines, continued, backend) -> Words       lines cut where the ids can be cut, with the word END after each
    GIVEN = "…"                                     where it trains, to `vocab_size` pieces: the option that names a
                                                    file to read instead
    size(*, …options) -> int | None                 where it may extend another: the number of pieces, if it does
    SENTENCES_ALONE = True                          where a sentence's ids never depend on what stands before it
    word_encoder(backend) -> (words -> Encoded)     what the backend gives for such words

`word_counts()` gives the words of the training text, split at whitespace, with how often each
occurs; only a kind that trains calls it.

Every kind ends as the same thing, a `tokenizer.json` of the Hugging Face library `tokenizers`.
The store is made with the very file that `export_huggingface` writes, so that what PyTorch users
open gives the same ids by construction. What makes it quick is that a text's ids are the ids of
its words one after the other: a word is encoded once and remembered.
"""

import dataclasses
import functools
import hashlib
import json
import os
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from configuration import foreign, variants
from configuration.files import write_bytes
from configuration.foreign import FormatError
from configuration.variants import Variant
from data_pipeline.errors import DataError
from data_pipeline.tokenizers import _definition
from data_pipeline.tokenizers._cutting import END, Words, at_spaces, joined
from data_pipeline.tokenizers._remembered import Encoded, Remembered, one_after_the_other

WordCounts = Callable[[], Mapping[str, int]]

_KIND = re.compile(r"\w+(\.\w+)*")
_REMEMBERED_WORDS = 1 << 19  # about 100 MB


@dataclasses.dataclass(frozen=True)
class Specials:
    """The special tokens as they are written in the vocabulary."""

    pad: str = "[PAD]"
    unk: str = "[UNK]"
    cls: str = "[CLS]"
    sep: str = "[SEP]"
    mask: str = "[MASK]"


@dataclasses.dataclass(frozen=True)
class _Description:
    """The contents of `kind.json`."""

    kind: str
    specials: Specials


class Tokenizer:
    """Text to ids and back. V is the size of the vocabulary, special tokens included.

    Args:
      kind: the name of its file in this package.
      definition: the text of a `tokenizer.json`.
      specials: the special tokens, all in the vocabulary.
      name: what messages call it, such as its file.

    Raises:
      FormatError: the definition is damaged, or its vocabulary lacks a special token.
    """

    def __init__(self, kind: str, definition: str, specials: Specials = Specials(), name: str = "the tokenizer"):
        self.kind = kind
        self.definition = definition
        self.specials = specials
        self._backend = _definition.opened(definition, name)
        self._file = _file_of(kind, name)
        self._words_of: Callable[[Sequence[str], Sequence[bool], Any], Words] = getattr(self._file, "words", words)
        self.vocab_size: int = self._backend.get_vocab_size()
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self._special_id(piece, name) for piece in dataclasses.astuple(specials)
        )

    @functools.cached_property
    def _words(self) -> Remembered[bytes]:
        encode = getattr(self._file, "word_encoder", word_encoder)(self._backend)
        return Remembered(lambda words: encode(_decoded(words)), END.encode(), _REMEMBERED_WORDS)

    def _special_id(self, piece: str, name: str) -> int:
        try:
            token_id = self._backend.token_to_id(piece)
        except UnicodeEncodeError:  # JSON can write halves of surrogate pairs, which no vocabulary has
            token_id = None
        if token_id is None:
            raise FormatError(f"the vocabulary of {name} lacks the special token {piece!r}; give another tokenizer")
        return token_id

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without [CLS] and [SEP]; "[MASK]" in it becomes `mask_id`."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on all cores."""
        return [encoding.ids for encoding in self._backend.encode_batch(list(texts), add_special_tokens=False)]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """`encode`, and where each piece stands in the text as it is given: [start, end) in characters."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    @property
    def sentences_alone(self) -> bool:
        """Whether a sentence's ids never depend on what stands before it in its text."""
        return getattr(self._file, "SENTENCES_ALONE", False)

    @functools.cached_property
    def _plain(self) -> Any:
        """The backend, to which special tokens are text like any other."""
        import tokenizers

        backend = tokenizers.Tokenizer.from_str(self.definition)
        backend.encode_special_tokens = True
        return backend

    def encode_sentences(self, text: str, ends: Sequence[int], continued: bool) -> tuple[np.ndarray, np.ndarray]:
        """The ids of sentences that nothing stands between, as of one text. A piece of two belongs to the first.

        Args:
          ends: where each sentence ends in the text.
          continued: whether other text stands before this one, and white space between.

        Returns:
          tokens [n] uint32, and the number of tokens of each sentence [len(ends)] uint32.
        """
        space = " " if continued else ""
        encoding = self._plain.encode(space + text, add_special_tokens=False)
        starts = np.array([start for start, _ in encoding.offsets], np.int64) - len(space)
        before = [0, *np.searchsorted(starts, ends[:-1]).tolist(), len(starts)]
        return np.array(encoding.ids, np.uint32), np.diff(before).astype(np.uint32)

    def encode_lines(
        self, lines: Sequence[str], continued: Sequence[bool] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ids of many lines, one after the other, for a corpus: "[MASK]" in it is text like any other.

        Args:
          continued: of each line, whether it continues the text of the one before, after white space.

        Returns:
          tokens [n] uint32, and the number of tokens of each line [len(lines)] uint32.
        """
        if END in "".join(lines):
            lines = [line.replace(END, "") for line in lines]
        kinds, which = _distinct(*self._words_of(lines, continued or [False] * len(lines), self._backend))
        numbers = self._words.numbers(kinds)[which]
        tokens, lengths = self._words.ids(numbers)
        of_lines = np.diff(np.cumsum(lengths)[numbers == Remembered.NOTHING], prepend=0)
        return tokens, of_lines.astype(np.uint32)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """The text of some ids."""
        return self._backend.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id as it is written in the vocabulary."""
        return [cast(str, self._backend.id_to_token(int(i))) for i in ids]

    @functools.cached_property
    def vocabulary(self) -> list[str]:
        """[V] each piece as it is written."""
        return self.pieces(range(self.vocab_size))

    @functools.cached_property
    def word_start(self) -> np.ndarray:
        """[V] bool: which ids start a word; [CLS], [SEP], [PAD] and [MASK] stand alone, so they do."""
        table = np.array([self._file.starts_word(piece) for piece in self.vocabulary], bool)
        table[[self.pad_id, self.cls_id, self.sep_id, self.mask_id]] = True
        return table

    @functools.cached_property
    def surfaces(self) -> list[bytes]:
        """[V] the text of each piece; of special tokens the replacement character alone."""
        specials = set(dataclasses.astuple(self.specials))
        return [" \ufffd ".encode() if piece in specials else self._file.surface(piece) for piece in self.vocabulary]

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal of all that `save` writes."""
        return hashlib.sha256((self._description() + self.definition).encode()).hexdigest()

    def _description(self) -> str:
        return json.dumps({"kind": self.kind, "specials": dataclasses.asdict(self.specials)}, indent=1) + "\n"

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes what `load_tokenizer` reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "tokenizer.json", self.definition.encode())
        write_bytes(folder / "kind.json", self._description().encode())

    def export_huggingface(self, folder: str | os.PathLike[str], max_length: int, token_types: bool = True) -> None:
        """Writes the files that `transformers.AutoTokenizer` opens, with the same ids.

        Args:
          max_length: tokens that the model takes at most.
          token_types: whether it takes token types.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = {f"{name}_token": piece for name, piece in dataclasses.asdict(self.specials).items()}
        configuration = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_length,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"],
        }
        write_bytes(folder / "tokenizer.json", self.definition.encode())
        for file, contents in (("tokenizer_config", configuration | names), ("special_tokens_map", names)):
            write_bytes(folder / f"{file}.json", (json.dumps(contents, indent=2) + "\n").encode())


def _file_of(kind: str, name: str) -> types.ModuleType:
    """The file of a kind of tokenizer."""
    file = variants.module("data_pipeline.tokenizers", kind) if _KIND.fullmatch(kind) else None
    if not all(hasattr(file, function) for function in ("starts_word", "surface")):
        raise FormatError(f"{name} is of the kind {kind!r}, which is no kind of tokenizer; give another tokenizer")
    return cast(types.ModuleType, file)


def words(lines: Sequence[str], continued: Sequence[bool], backend: Any) -> Words:
    """The words between the spaces of lines, each with the space before it."""
    del continued, backend  # every word has its sign of a space
    return at_spaces(joined(lines))


def _distinct(text: bytes, ends: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    """The different words of a text, by where each ends, and which of them each word is."""
    import pyarrow as pa

    buffers = [None, pa.py_buffer(np.concatenate([np.zeros(1, np.int32), ends])), pa.py_buffer(text)]
    encoded = pa.Array.from_buffers(pa.binary(), len(ends), buffers).dictionary_encode()
    return encoded.dictionary.to_pylist(), np.frombuffer(encoded.indices.buffers()[1], np.int32, len(ends))


def _decoded(words: Sequence[bytes]) -> list[str]:
    return END.encode().join([*words, b""]).decode().split(END)[:-1]


def word_encoder(backend: Any) -> Callable[[Sequence[str]], Encoded]:
    """The backend's own steps for pieces of text, without its search for special tokens."""
    normalize = backend.normalizer.normalize_str if backend.normalizer else str
    cut, tokenize = backend.pre_tokenizer.pre_tokenize_str, backend.model.tokenize

    def ids_of(word: str) -> list[int]:
        return [token.id for piece, _ in cut(normalize(word)) for token in tokenize(piece)]

    return lambda words: one_after_the_other([ids_of(word) for word in words])


def trained_size(variant: Variant) -> int | None:
    """The number of pieces of a tokenizer that is to be trained or extended; None for one that is read.

    Raises:
      ConfigError: no such kind of tokenizer, or an option that it does not have.
    """
    variants.load("data_pipeline.tokenizers", variant)
    file = variants.module("data_pipeline.tokenizers", variant.name)
    if hasattr(file, "size"):
        return variants.load("data_pipeline.tokenizers", variant, "size")()
    options = variants.options_of(file.build) | variants.check_types(file.build, variant)
    return options["vocab_size"] if hasattr(file, "GIVEN") and not options[file.GIVEN] else None


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """Opens what `Tokenizer.save` wrote.

    Raises:
      DataError: no tokenizer in the folder.
      FormatError: one of its files is damaged.
    """
    folder = Path(folder)
    kind, definition = folder / "kind.json", folder / "tokenizer.json"
    for file in (kind, definition):
        if not file.exists():
            raise DataError(f"{file} is missing: {folder} holds no tokenizer; prepare the store again")
    description = foreign.typed(_Description, foreign.read_json(kind), str(kind))
    return Tokenizer(description.kind, foreign.read_text(definition), description.specials, str(definition))
