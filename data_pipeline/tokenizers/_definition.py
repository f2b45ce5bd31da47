"""The text of a `tokenizer.json`, checked before and after the library `tokenizers` opens it.

The library does not check much of a file: mistakes fail later, in the middle of a corpus, print a backtrace, or end the
process.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from configuration.foreign import FormatError

_LEAF = np.uint32(1 << 31)
_BLOCK = 256  # units of a double-array trie: one for each byte
_PROBE = (
    "It's a well-known fact: in 1889 Mr. O'Brien paid $3.50 (or 7%) for café-crème, naïvely. 東京タワーへ行った。"
    " Привет, мир! 😀 ½ ﬁn ＡＢ a_b x² [MASK]"
)


def opened(definition: str, name: str) -> Any:
    """The library's tokenizer of a `tokenizer.json`.

    Args:
      name: what messages call it.

    Raises:
      FormatError: it is none, or one that the library cannot work with.
    """
    import tokenizers

    _check(definition, name)
    try:
        backend = tokenizers.Tokenizer.from_str(definition)
        backend.encode(_PROBE)
    except BaseException as error:  # the library's panics are no Exception
        raise _refused(error, name) from None
    _check_ids(backend.get_vocab(), backend.get_vocab_size(), name)
    return backend


def completed(definition: str, specials: Sequence[str], cls: str, sep: str, name: str) -> str:
    """The definition, with the special tokens marked as such and set around a text where they are not yet.

    Without this the exported tokenizer gives other ids than a store has: some files have the special tokens in the
    vocabulary alone.

    Raises:
      FormatError: as `opened`.
    """
    backend = opened(definition, name)
    marked = {token.content for token in backend.get_added_tokens_decoder().values()}
    vocabulary = backend.get_vocab()
    if not {cls, sep, *specials} <= vocabulary.keys():
        return definition  # whoever makes a tokenizer of it says so
    around = [vocabulary[cls], *backend.encode("a", add_special_tokens=False).ids, vocabulary[sep]]
    if set(specials) <= marked and backend.encode("a").ids == around:
        return definition
    return with_specials(backend, [special for special in specials if special not in marked], cls, sep)


def with_specials(backend: Any, specials: Sequence[str], cls: str, sep: str) -> str:
    """The definition of a tokenizer after marking special tokens and setting [CLS] and [SEP] around texts."""
    from tokenizers import processors

    backend.add_special_tokens(list(specials))
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(piece, backend.token_to_id(piece)) for piece in (cls, sep)],
    )
    return backend.to_str()


def check_words(tokenizer: Any, name: str) -> None:
    """Raises FormatError if the ids of a text are not those of its words, which a corpus is encoded by."""
    try:
        ids = tokenizer.encode_lines([_PROBE])[0].tolist()
        expected = tokenizer.encode_sentences(_PROBE, [len(_PROBE)], False)[0].tolist()
    except BaseException as error:
        raise _refused(error, name) from None
    if ids != expected:
        raise FormatError(f"{name} does not cut text into words first, as tokenizers here do; give another tokenizer")


def _refused(error: BaseException, name: str) -> BaseException:
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        return FormatError(f"{name} is no tokenizer that can be used: {error}")
    return error


def _check(definition: str, name: str) -> None:
    """Checks what the library assumes: it panics, or aborts the process, otherwise."""
    try:
        root = json.loads(definition)
    except (ValueError, RecursionError):
        raise FormatError(f"{name} is damaged: it is not JSON") from None
    model = root.get("model") if isinstance(root, dict) else None
    if not isinstance(model, dict):
        raise FormatError(f"{name} is damaged: it has no model")
    if model.get("type", "BPE") == "BPE" and model.get("continuing_subword_prefix"):
        raise FormatError(f"{name} marks where a word goes on, which BPE here does not; give another tokenizer")
    for step in _steps([part for key, part in root.items() if key not in ("model", "added_tokens")]):
        if step.get("type") == "Precompiled":
            check_charsmap(_base64(step.get("precompiled_charsmap"), name), name)
        if step.get("type") == "TemplateProcessing":
            _check_template(step, name)


def _steps(parts: list[Any]) -> Iterator[Mapping[str, Any]]:
    """Every object in some JSON."""
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []


def _check_template(step: Mapping[str, Any], name: str) -> None:
    known = step.get("special_tokens")
    for piece in _steps([step.get("single"), step.get("pair")]):
        special = piece.get("SpecialToken")
        wanted = special.get("id") if isinstance(special, dict) else None
        if wanted is not None and (not isinstance(known, dict) or not isinstance(wanted, str) or wanted not in known):
            raise FormatError(f"{name} is damaged: its template names {wanted!r:.40}, which it does not explain")


def _base64(text: Any, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise FormatError(f"{name} is damaged: its precompiled_charsmap is not base64") from None


def check_charsmap(charsmap: bytes, name: str) -> None:
    """Raises FormatError unless SentencePiece's table of characters stays within itself.

    It is the size of a double-array trie in bytes, the trie's units (uint32), and the texts that its leaves point to.
    """
    size = int.from_bytes(charsmap[:4], "little")
    units, texts = np.zeros(0, "<u4"), charsmap[4 + size :]
    if size % (4 * _BLOCK) == 0 and 0 < size <= len(charsmap) - 4:
        units = np.frombuffer(charsmap, "<u4", size // 4, 4)
    inner = (units & _LEAF) == 0
    offsets = (units >> np.uint32(10)) << ((units & np.uint32(1 << 9)) >> np.uint32(6))
    children = np.arange(units.size, dtype=np.int64) ^ offsets.astype(np.int64)
    characters = np.append(np.frombuffer(texts, np.uint8) & 0xC0 != 0x80, True)  # where one starts
    leaves = (units[~inner] & ~_LEAF).astype(np.int64)
    stays = units.size and (children[inner] < units.size).all() and (leaves < characters.size).all()
    if not stays or not characters[leaves].all() or not _is_utf8(texts):
        raise FormatError(f"{name} is damaged: its table of characters (precompiled_charsmap) points outside itself")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_ids(vocabulary: Mapping[str, int], size: int, name: str) -> None:
    ids = np.fromiter(vocabulary.values(), np.int64, len(vocabulary))
    if not size or len(ids) != size or not np.array_equal(np.sort(ids), np.arange(size)):
        raise FormatError(f"{name} is damaged: the ids of its {len(ids)} pieces are not 0 to {len(ids) - 1}, each once")
