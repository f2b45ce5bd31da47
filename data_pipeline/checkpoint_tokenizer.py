"""Tokenizers in the folder of a checkpoint: ours, `tokenizer.json`, or BERT's `vocab.txt` alone."""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configuration import foreign
from configuration.foreign import FormatError
from data_pipeline.config import Data
from data_pipeline.tokenizers import Specials, Tokenizer, load_tokenizer, wordpiece
from data_pipeline.tokenizers._definition import check_words, completed

# Files of data_pipeline/tokenizers, by the model in tokenizer.json.
KINDS = {"WordPiece": "wordpiece", "Unigram": "sentencepiece", "BPE": "sentencepiece"}


class OutsideError(FormatError):
    """A work folder names a store outside it, which is not opened."""


@dataclasses.dataclass(frozen=True)
class Token:
    """A special token that is more than its text."""

    content: str


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is read of tokenizer_config.json and special_tokens_map.json; None where nothing is said."""

    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None
    pad_token: str | Token | None = None
    unk_token: str | Token | None = None
    cls_token: str | Token | None = None
    sep_token: str | Token | None = None
    mask_token: str | Token | None = None


def read(folder: Path) -> Tokenizer | None:
    """The tokenizer of a checkpoint's folder, or None where there is none.

    Raises:
      FormatError: one of its files is damaged, of a kind that this project lacks, or lacks a special token.
    """
    if (folder / "tokenizer" / "kind.json").exists():
        return load_tokenizer(folder / "tokenizer")
    said = settings(folder)
    if (folder / "tokenizer.json").exists():
        return given(folder / "tokenizer.json", specials(said))
    if (folder / "vocab.txt").exists():
        return wordpiece.build(
            dict,
            vocab=str(folder / "vocab.txt"),
            lowercase=said.do_lower_case,
            strip_accents=said.strip_accents,
            chinese_characters=said.tokenize_chinese_chars is not False,
        )
    return None


def keep(tokenizer: Tokenizer, workdir: Path) -> None:
    """Writes the tokenizer of a run into its work folder, which can then be opened wherever the store is."""
    folder = workdir / "tokenizer"
    if is_kept(workdir) and load_tokenizer(folder).definition == tokenizer.definition:
        return
    temporary = workdir / f".tokenizer.{os.getpid()}"
    tokenizer.save(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def is_kept(workdir: Path) -> bool:
    """Whether a work folder has the tokenizer that `keep` writes."""
    return (workdir / "tokenizer" / "kind.json").exists()


def folder_of(path: Path) -> Path:
    """The tokenizer folder of an encoder's folder: within it, or in the store of a work folder that has one.

    Raises:
      FormatError: the work folder's config.json is damaged.
      OutsideError: it names a store elsewhere.
    """
    if not (path / "checkpoints").is_dir() or is_kept(path):
        return path
    written = path / "config.json"  # not there in a folder of checkpoints alone
    data = foreign.read_json(written).get("data") if written.exists() else None
    return store_of(path, str((data.get("store") if isinstance(data, dict) else "") or ""))


def store_of(workdir: Path, named: str, asked: str = "") -> Path:
    """The store of a work folder: the one `asked` for by the user, or the one that its configuration names.

    The folder may be untrusted, so its configuration may name only paths within the folder.

    Raises:
      OutsideError: the configuration names one outside the folder, and the user none.
    """
    if asked or not named:
        return Path(asked or workdir / "store")
    if not foreign.lies_in(workdir, named):
        raise OutsideError(
            f"{workdir} names the store {named}, which is outside that folder and not opened unless you name it too: "
            f"--store={named} (with --config: --config.data.store={named})"
        )
    return Path(named)


def adopted(path: Path, data: Data, overrides: Mapping[str, str]) -> dict[str, str]:
    """Overrides that give a configuration the tokenizer of the encoder in `path`, dotted field → text.

    Empty where there is no tokenizer, or `overrides` name another. If the configuration's tokenizer is a checkpoint's
    already, its other options stay. The tokenizer of the user's own store is taken where that of the encoder is in a
    store outside its folder.

    Args:
      data: of the configuration, without the overrides.
      overrides: the user's.

    Raises:
      FormatError: as `read` and `folder_of`, or `path` is no folder.
    """
    if not path.is_dir():
        raise FormatError(f"{path} is no folder")
    if "data.tokenizer" in overrides:
        return {}
    try:
        folder = folder_of(path)
    except OutsideError:
        if not (store := overrides.get("data.store", data.store)):
            raise
        folder = Path(store)
    if read(folder) is None:
        return {}
    kind = {} if data.tokenizer.name == "checkpoint" else {"data.tokenizer": "checkpoint"}
    return kind | {"data.tokenizer.folder": json.dumps(str(folder))}


def given(file: Path, names: Specials) -> Tokenizer:
    """The tokenizer of a tokenizer.json.

    Raises:
      FormatError: the file is damaged, or of a kind that this project lacks.
    """
    definition = foreign.read_json(file)
    name = kind(definition, file)
    # Some checkpoints cut and pad in the tokenizer, to the length of their own use; rows here do that themselves.
    plain = definition | {"truncation": None, "padding": None}
    text = foreign.read_text(file) if plain == definition else json.dumps(plain)
    whole = completed(text, dataclasses.astuple(names), names.cls, names.sep, str(file))
    tokenizer = Tokenizer(name, whole, names, str(file))
    check_words(tokenizer, str(file))
    return tokenizer


def kind(definition: dict[str, Any], file: Path) -> str:
    """The file of data_pipeline/tokenizers that a tokenizer.json belongs to.

    Raises:
      FormatError: there is none.
    """
    model = part.get("type") if isinstance(part := definition.get("model"), dict) else None
    if not isinstance(model, str) or model not in KINDS:
        raise FormatError(f"{file} is of the kind {model!r:.40}; this project has {', '.join(KINDS)}")
    if model == "BPE" and "ByteLevel" in json.dumps(definition.get("pre_tokenizer")):
        return "byte_level"
    return KINDS[model]


def settings(folder: Path) -> Settings:
    """What tokenizer_config.json and special_tokens_map.json say, the latter first.

    Raises:
      FormatError: one of them is damaged.
    """
    said: dict[str, Any] = {}
    for file in (folder / "tokenizer_config.json", folder / "special_tokens_map.json"):
        if file.exists():
            found = foreign.typed(Settings, foreign.read_json(file), str(file))
            said |= {name: value for name, value in vars(found).items() if value is not None}
    return Settings(**said)


def specials(settings: Settings) -> Specials:
    """The special tokens, BERT's own where nothing is said."""
    tokens = {name: getattr(settings, f"{name}_token") for name in ("pad", "unk", "cls", "sep", "mask")}
    written = {name: token.content if isinstance(token, Token) else token for name, token in tokens.items()}
    return Specials(**{name: token for name, token in written.items() if token is not None})
