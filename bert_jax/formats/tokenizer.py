"""Tokenizers that lie beside a checkpoint: ours, `tokenizer.json`, or BERT's `vocab.txt` alone."""

import json
from pathlib import Path
from typing import Any

from bert_jax.formats import weights
from bert_jax.formats.table import FormatError
from data_pipeline.tokenizers import Specials, Tokenizer, load_tokenizer

# Files of data_pipeline/tokenizers, by the model in tokenizer.json.
KINDS = {"WordPiece": "wordpiece", "Unigram": "sentencepiece", "BPE": "sentencepiece"}


def read(folder: Path) -> Tokenizer | None:
    """The tokenizer of a checkpoint's folder, or None where there is none.

    Raises:
      FormatError: one of its files is damaged, or of a kind that this project lacks.
      DataError: its vocabulary lacks a special token.
    """
    if (folder / "tokenizer" / "kind.json").exists():
        return load_tokenizer(folder / "tokenizer")
    file = folder / "tokenizer.json"
    if file.exists():
        definition = weights.read_json(file)
    elif (folder / "vocab.txt").exists():
        definition = from_vocabulary(folder / "vocab.txt", settings(folder))
    else:
        return None
    # Some checkpoints cut and pad in the tokenizer, to the length of their own use; rows here do that themselves.
    plain = definition | {"truncation": None, "padding": None}
    text = file.read_text(encoding="utf-8") if file.exists() and plain == definition else json.dumps(plain)
    return Tokenizer(kind(definition, folder), text, specials(settings(folder)))


def kind(definition: dict[str, Any], folder: Path) -> str:
    """The file of data_pipeline/tokenizers that a tokenizer.json belongs to.

    Raises:
      FormatError: there is none.
    """
    model = definition.get("model", {}).get("type")
    if model not in KINDS:
        raise FormatError(f"{folder}/tokenizer.json is of the kind {model!r}; this project has {', '.join(KINDS)}")
    if model == "BPE" and "ByteLevel" in json.dumps(definition.get("pre_tokenizer")):
        return "byte_level"
    return KINDS[model]


def settings(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json and special_tokens_map.json say; nothing where they are missing."""
    files = [folder / name for name in ("tokenizer_config.json", "special_tokens_map.json")]
    return {name: value for file in files if file.exists() for name, value in weights.read_json(file).items()}


def specials(settings: dict[str, Any]) -> Specials:
    """The special tokens, BERT's own where nothing is said."""
    fields = {}
    for name in ("pad", "unk", "cls", "sep", "mask"):
        token = settings.get(f"{name}_token")
        if token is not None:
            fields[name] = token["content"] if isinstance(token, dict) else token
    return Specials(**fields)


def from_vocabulary(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer.json of BERT's WordPiece over a vocabulary with one piece a line."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    try:
        pieces = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"{file} is not UTF-8: {error}") from None
    vocabulary = {piece.rstrip("\r"): i for i, piece in enumerate(pieces[:-1] if pieces[-1] == "" else pieces)}
    names = specials(settings)
    missing = [piece for piece in (names.unk, names.cls, names.sep) if piece not in vocabulary]
    if missing:
        raise FormatError(f"{file} lacks the special tokens {', '.join(missing)}")
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=names.unk))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    cls, sep = ((piece, vocabulary[piece]) for piece in (names.cls, names.sep))
    tokenizer.post_processor = processors.BertProcessing(sep, cls)
    tokenizer.add_special_tokens([names.pad, names.unk, names.cls, names.sep, names.mask])
    return json.loads(tokenizer.to_str())
