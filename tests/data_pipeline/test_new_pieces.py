"""A tokenizer of any kind learns new pieces: its own stay, the text gets shorter, transformers gives the same ids."""

import collections
import itertools
import json
import os
import random
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.data_pipeline import hostile
from tests.data_pipeline.exported import in_transformers

from configuration.foreign import FormatError
from configuration.variants import ConfigError, load, use
from data_pipeline import new_pieces
from data_pipeline.errors import DataError
from data_pipeline.store import Store
from data_pipeline.tokenizers import Tokenizer, trained_size

ROOT = Path(__file__).parents[2]
GENERAL = dict(collections.Counter(" ".join(hostile.EXAMPLES * 3).split()))
SPECIAL = {
    "myocardial": 31,
    "myocarditis,": 12,
    "(hypertension)": 40,
    "Hypertension": 9,
    "高血圧": 14,
    "高血圧の薬": 5,
    "hiperténsión": 17,
    "b12-deficiency": 8,
    "उच्चरक्तचाप": 11,
}
NEW = 23
KINDS = [
    use("wordpiece", vocab_size=400),
    use("wordpiece", vocab_size=380, chinese_characters=False, lowercase=True),
    use("sentencepiece", vocab_size=180),
    use("sentencepiece", vocab_size=330, algorithm="bpe"),
    use("byte_level", vocab_size=400),
]


def build(variant, counts) -> Tokenizer:
    return load("data_pipeline.tokenizers", variant)(lambda: counts)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def given_one(request, tmp_path_factory) -> Tokenizer:
    return build(request.param, GENERAL)


@pytest.fixture(scope="module")
def extended(given_one) -> Tokenizer:
    return new_pieces.extended(given_one, lambda: SPECIAL, NEW)


@pytest.fixture(scope="module")
def exported(extended, tmp_path_factory):
    return in_transformers(extended, tmp_path_factory.mktemp("exported"))


def length(tokenizer: Tokenizer) -> int:
    return sum(len(tokenizer.encode(word)) * count for word, count in SPECIAL.items())


def test_old_ids_stay_and_new_ones_follow(given_one, extended) -> None:
    size = given_one.vocab_size
    assert extended.vocab_size == size + NEW
    assert extended.vocabulary[:size] == given_one.vocabulary
    assert extended.specials == given_one.specials
    assert len(set(extended.vocabulary)) == size + NEW


def test_the_text_gets_shorter_and_stays_the_same_text(given_one, extended) -> None:
    assert length(extended) < 0.75 * length(given_one)
    for text in [*hostile.EXAMPLES, *SPECIAL, " ".join(SPECIAL)]:
        assert extended.decode(extended.encode(text)) == given_one.decode(given_one.encode(text))


def test_what_a_new_piece_replaces_is_written_like_it(given_one, extended) -> None:
    replaced = new_pieces.replaced(extended, given_one.vocab_size)
    assert len(replaced) == NEW
    for piece, ids in enumerate(replaced, given_one.vocab_size):
        assert len(ids) >= 2
        assert max(ids) < given_one.vocab_size
        assert b"".join(given_one.surfaces[i] for i in ids) == extended.surfaces[piece]


@settings(max_examples=100, deadline=None)
@given(text=hostile.texts)
def test_transformers_gives_the_same_ids(extended, exported, text) -> None:
    assert exported(text)["input_ids"] == [extended.cls_id, *extended.encode(text), extended.sep_id]
    plain = text.replace("\0", "")
    plain = plain if extended.kind == "wordpiece" else " ".join(plain.split())
    wanted = exported(plain, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert extended.encode_lines([text])[0].tolist() == wanted


def test_bpe_gives_what_was_learnt(given_one, extended) -> None:
    if json.loads(given_one.definition)["model"]["type"] != "BPE":
        pytest.skip("it takes the longest or the likeliest pieces, not those of the merges")
    words = new_pieces.cut_words(given_one, SPECIAL, "")
    for each in new_pieces.learn(words, given_one.vocabulary, NEW, ""):
        words = [(new_pieces.merged(word, each.pair, each.piece), count) for word, count in words]
    assert new_pieces.cut_words(extended, SPECIAL, "") == words


def test_merges_written_as_text(given_one, extended) -> None:
    definition = json.loads(given_one.definition)
    if definition["model"]["type"] != "BPE":
        pytest.skip("it has no merges")
    definition["model"]["merges"] = [" ".join(pair) for pair in definition["model"]["merges"]]  # as RoBERTa's file
    written = Tokenizer(given_one.kind, json.dumps(definition), given_one.specials)
    again = new_pieces.extended(written, lambda: SPECIAL, NEW)
    merges = json.loads(extended.definition)["model"]["merges"]
    assert json.loads(again.definition)["model"]["merges"] == [" ".join(pair) for pair in merges]
    assert [again.encode(text) for text in SPECIAL] == [extended.encode(text) for text in SPECIAL]


def naive(words, vocabulary, number):
    """The same, counting all pairs again after each new piece."""
    words, known, found, refused = [(list(word), count) for word, count in words], set(vocabulary), [], set()
    while len(found) < number:
        pairs = collections.Counter()
        for word, count in words:
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        wanted = [(-count, pair) for pair, count in pairs.items() if count >= 2 and pair not in refused]
        if not wanted:
            break
        count, pair = min(wanted)
        if (piece := "".join(pair)) in known:
            refused.add(pair)
            continue
        known.add(piece)
        found.append((piece, pair, -count / sum(len(word) * count for word, count in words)))
        words = [(new_pieces.merged(word, pair, piece), count) for word, count in words]
    return found


@pytest.mark.parametrize("seed", range(20))
def test_learning_counts_as_the_naive_form_does(seed) -> None:
    chance = random.Random(seed)
    of = lambda letters, least, most: "".join(chance.choices(letters, k=chance.randint(least, most)))
    words = [(list(of("abc", 1, 9)), chance.randint(1, 9)) for _ in range(40)]
    found = new_pieces.learn(words, "abc", 37, "")
    assert [tuple(each) for each in found] == naive(words, "abc", 37)


def test_more_than_the_text_supports(given_one) -> None:
    with pytest.raises(
        DataError, match=r"new_pieces=5000 is more than the text supports; the largest .* is (\d+)"
    ) as e:
        new_pieces.extended(given_one, lambda: SPECIAL, 5000)
    largest = int(str(e.value).split()[-1])
    assert new_pieces.extended(given_one, lambda: SPECIAL, largest).vocab_size == given_one.vocab_size + largest


def test_as_a_variant(given_one, tmp_path) -> None:
    given_one.save(tmp_path / "tokenizer")
    variant = use("checkpoint", folder=str(tmp_path), new_pieces=5)
    assert trained_size(variant) == given_one.vocab_size + 5 == build(variant, SPECIAL).vocab_size
    assert trained_size(use("checkpoint", folder=str(tmp_path))) is None
    assert build(use("checkpoint", folder=str(tmp_path)), SPECIAL).fingerprint == given_one.fingerprint
    with pytest.raises(ConfigError, match="new_pieces is -1; it must be 0 to"):
        build(use("checkpoint", folder=str(tmp_path), new_pieces=-1), SPECIAL)


def test_special_tokens_outside_a_unigram_vocabulary() -> None:
    definition = json.loads(build(use("sentencepiece", vocab_size=180), GENERAL).definition)
    scored = definition["model"]["vocab"]
    mask = next(token for token in definition["added_tokens"] if token["content"] == "[MASK]")
    scored.append(scored.pop(mask["id"]))  # the last, so that the others keep theirs
    ids = {piece: i for i, (piece, _) in enumerate(scored)}
    for token in definition["added_tokens"]:
        token["id"] = ids[token["content"]]
    scored.pop()
    for template in definition["post_processor"]["special_tokens"].values():
        template["ids"] = [ids[token] for token in template["tokens"]]
    definition["model"]["unk_id"] = ids["[UNK]"]
    outside = Tokenizer("sentencepiece", json.dumps(definition))
    assert outside.mask_id == len(scored)
    with pytest.raises(FormatError, match="lacks some of its special tokens"):
        new_pieces.extended(outside, lambda: SPECIAL, 3)


def test_the_command_extends_the_tokenizer_of_the_encoder(tmp_path) -> None:
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *letters]
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (tmp_path / "text.txt").write_text("\n\n".join(f"A mill{'s' * i} by the sea." for i in range(300)))
    options = ["init_from=encoder", "data.tokenizer.new_pieces=3", "data.sources=text_files"]
    command = [sys.executable, "-m", "data_pipeline.prepare", f"--config={ROOT}/configs/demo.py", "--output=store"]
    command += [f"--config.{option}" for option in [*options, "data.sources.0.paths=text.txt"]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = Store.open(tmp_path / "store").tokenizer
    assert found.vocabulary == [*pieces, "##ss", "##ssss", "##ssssssss"]
