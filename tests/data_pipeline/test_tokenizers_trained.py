"""WordPiece and byte-level BPE learnt from word counts: the same every time, and the same ids in transformers."""

import collections
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from tests.data_pipeline import hostile
from tests.data_pipeline.exported import in_transformers

from bert_jax.config import Data
from configuration.variants import ConfigError, load, use
from data_pipeline.errors import DataError
from data_pipeline.prepare import prepare
from data_pipeline.tokenizers import Specials, load_tokenizer, wordpiece

COUNTS = dict(collections.Counter(" ".join(hostile.EXAMPLES * 3).split()))
KINDS = [
    use("wordpiece", vocab_size=400),
    use("wordpiece", vocab_size=350, lowercase=True),
    use("wordpiece", vocab_size=400, chinese_characters=False, strip_accents=True),
    use("byte_level", vocab_size=400),
    use("byte_level", vocab_size=350, lowercase=True),
]


def build(kind, counts=COUNTS):
    return load("data_pipeline.tokenizers", kind)(lambda: counts)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(kind):
    return build(kind)


@pytest.fixture(scope="module")
def exported(tokenizer, tmp_path_factory):
    return in_transformers(tokenizer, tmp_path_factory.mktemp("exported"))


def test_it_has_the_size_and_the_special_tokens_first(kind, tokenizer):
    assert tokenizer.vocab_size == kind.options["vocab_size"]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.pieces(range(5)) == specials
    assert len(set(tokenizer.pieces(range(tokenizer.vocab_size)))) == tokenizer.vocab_size


@settings(max_examples=200, deadline=None)
@given(text=hostile.texts)
def test_transformers_gives_the_same_ids(tokenizer, exported, text):
    assert exported(text)["input_ids"] == [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
    plain = text.replace("\0", "")
    plain = plain if tokenizer.kind == "wordpiece" else " ".join(plain.split())  # BERT has rules of its own for spaces
    wanted = exported(plain, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.encode_lines([text])[0].tolist() == wanted


def test_mask_takes_the_place_of_a_word(tokenizer, exported):
    ids = tokenizer.encode("the [MASK] of")
    assert ids.count(tokenizer.mask_id) == 1
    assert exported("the [MASK] of", add_special_tokens=False)["input_ids"] == ids
    before, after = ids[: ids.index(tokenizer.mask_id)], ids[ids.index(tokenizer.mask_id) + 1 :]
    assert before == tokenizer.encode("the")
    assert tokenizer.decode(after).strip() == "of"


def test_the_order_of_the_counts_changes_nothing(kind, tokenizer):
    order = np.random.default_rng(0).permutation(list(COUNTS)).tolist()
    assert build(kind, {word: COUNTS[word] for word in order}).definition == tokenizer.definition


def test_every_process_learns_the_same(kind, tokenizer):
    program = (
        "from tests.data_pipeline.test_tokenizers_trained import KINDS, build\n"
        f"print(build(KINDS[{KINDS.index(kind)}]).fingerprint)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), "tests"]), "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == tokenizer.fingerprint


@pytest.mark.parametrize("name", ["sentencepiece", "wordpiece", "byte_level"])
@pytest.mark.parametrize("size", [0, -1, 10**12, 2**63])
def test_sizes_that_no_vocabulary_has(name, size):
    def not_read():
        raise AssertionError("the text is read first")

    with pytest.raises(ConfigError, match=rf"config.data.tokenizer.options.vocab_size is {size}; it must be 1 to"):
        load("data_pipeline.tokenizers", use(name, vocab_size=size))(not_read)


@pytest.mark.parametrize("share", [0, -1, 2, float("nan")])
def test_coverages_that_there_are_not(share):
    for name in ("sentencepiece", "wordpiece"):
        with pytest.raises(ConfigError, match=r"config.data.tokenizer.options.character_coverage is"):
            load("data_pipeline.tokenizers", use(name, character_coverage=share))(dict)


def test_common_words_are_one_piece(kind):
    counts = dict.fromkeys(("river", "mill", "school", "winter", "bridge"), 50) | {"rivers": 9, "schools": 9}
    small = 29 if kind.name == "wordpiece" else 300
    sizes = dict(kind.options) | {"vocab_size": small}
    with pytest.raises(DataError, match="is more than the text supports; the largest that works is") as caught:
        build(use(kind.name, **sizes | {"vocab_size": 5000}), counts)
    largest = int(str(caught.value).rsplit(maxsplit=1)[1])
    tokenizer = build(use(kind.name, **sizes | {"vocab_size": largest}), counts)
    assert [len(tokenizer.encode(f" {word}")) for word in ("river", "mill", "schools")] == [1, 1, 1]
    assert tokenizer.word_start[tokenizer.encode(" river mill")].tolist() == [True, True]


def test_fewer_pieces_than_characters(kind):
    with pytest.raises(
        DataError, match="is less than the text's characters need; the smallest that works is"
    ) as caught:
        build(use(kind.name, **dict(kind.options) | {"vocab_size": 20}))
    least = int(str(caught.value).rsplit(maxsplit=1)[1])
    assert build(use(kind.name, **dict(kind.options) | {"vocab_size": least})).vocab_size == least
    with pytest.raises(DataError, match="there is no word to train a tokenizer on"):
        build(kind, {})


def test_rare_characters_of_wordpiece_are_unknown():
    counts = {"river": 10_000, "mill": 10_000, "œuf": 1, "\U000f0000x": 500}
    tokenizer = build(use("wordpiece", vocab_size=24, character_coverage=0.9), counts)
    assert tokenizer.encode("œuf") == [tokenizer.unk_id]
    assert tokenizer.encode("\U000f0000x") == [tokenizer.unk_id]
    assert tokenizer.unk_id not in tokenizer.encode("revil mirl")  # every letter can also go on with a word


def test_a_learnt_vocabulary_is_read_again_as_a_file(tmp_path):
    tokenizer = build(KINDS[0])
    (tmp_path / "vocab.txt").write_text("\n".join(tokenizer.pieces(range(400))) + "\n", encoding="utf-8")
    again = wordpiece.build(dict, vocab=str(tmp_path / "vocab.txt"))
    assert again.definition == tokenizer.definition
    assert again.specials == Specials()


@pytest.mark.parametrize("name", ["wordpiece", "byte_level"])
def test_a_store_with_a_tokenizer_trained_on_its_text(tmp_path, name):
    random = np.random.default_rng(0)
    words = np.array(["The", "river", "mill", "school", "winter", "water", "teacher", "bridge", "door", "child"])
    texts = [" ".join(random.choice(words, 12)) + "." for _ in range(300)]
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    source = use("text_files", paths=str(tmp_path / "a.txt"))
    sizes = {"wordpiece": 60, "byte_level": 280}
    data = Data(sources=(source,), tokenizer=use(name, vocab_size=sizes[name]), held_out=0.1, workers=1)
    store = prepare(data, tmp_path / "store", progress=False)
    assert store.vocab_size == sizes[name]
    shard = store.split("train").shards[0]
    sentence = shard.tokens[: shard.sentence_offsets[1]]
    assert store.tokenizer.decode(sentence).replace(" .", ".").strip() in texts
    assert load_tokenizer(tmp_path / "store" / "tokenizer").fingerprint == store.tokenizer.fingerprint
