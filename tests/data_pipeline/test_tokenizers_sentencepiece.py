"""SentencePiece tokenizers: the same ids in ours, in the corpus's fast way and in what PyTorch users open."""

import collections
import io
import json
import random

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.data_pipeline import hostile
from tests.data_pipeline.exported import in_transformers

from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.tokenizers import Specials, Tokenizer, _by_model, _training, load_tokenizer, sentencepiece

TEXT = " ".join(hostile.EXAMPLES[2:10]) + (
    " The river ran past the old mill, where nobody had ground any corn for fifty years; the miller's house was now"
    " a school. Children walked to the river every morning, and the teacher counted them twice: at the bridge and at"
    " the door. In winter the water froze, and the older children skated to school. Nobody was ever late in winter!"
)


def word_counts(text: str = TEXT) -> collections.Counter[str]:
    return collections.Counter(text.split())


@pytest.fixture(scope="module", params=["unigram", "bpe", "lowercase"])
def tokenizer(request):
    lowercase = request.param == "lowercase"
    algorithm = "unigram" if lowercase else request.param
    return sentencepiece.build(word_counts, vocab_size=130, algorithm=algorithm, lowercase=lowercase)


@pytest.fixture(scope="module")
def exported(tokenizer, tmp_path_factory):
    return in_transformers(tokenizer, tmp_path_factory.mktemp("exported"), max_length=128)


def test_special_tokens_come_first(tokenizer):
    assert tokenizer.pieces(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
    assert ids == (0, 1, 2, 3, 4)
    assert tokenizer.vocab_size == 130


def test_scores_of_a_unigram_model_are_read_back_exactly(tokenizer, tmp_path):
    model = lambda tokenizer: json.loads(tokenizer._backend.to_str())["model"]
    if model(tokenizer)["type"] == "BPE":
        pytest.skip("it has no scores")
    tokenizer.save(tmp_path)
    loaded = model(load_tokenizer(tmp_path))
    assert loaded["vocab"] == model(tokenizer)["vocab"]
    assert _by_model.is_plain(loaded, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])


@settings(max_examples=300, deadline=None)
@given(text=hostile.texts)
def test_autotokenizer_gives_the_same_ids(tokenizer, exported, text):
    ids = tokenizer.encode(text)
    assert exported(text)["input_ids"] == [tokenizer.cls_id, *ids, tokenizer.sep_id]
    assert exported(text, add_special_tokens=False)["input_ids"] == ids


def test_autotokenizer_knows_the_special_tokens(tokenizer, exported):
    assert (exported.pad_token_id, exported.unk_token_id, exported.mask_token_id) == (0, 1, 4)
    assert exported.model_max_length == 128
    pair = exported("the river", "the mill")
    first, second = tokenizer.encode("the river"), tokenizer.encode("the mill")
    assert pair["input_ids"] == [2, *first, 3, *second, 3]
    assert pair["token_type_ids"] == [0] * (len(first) + 2) + [1] * (len(second) + 1)
    assert exported.decode(tokenizer.encode("the mill")) == tokenizer.decode(tokenizer.encode("the mill"))


@settings(max_examples=300, deadline=None)
@given(text=hostile.texts)
def test_lines_have_the_ids_of_their_text(tokenizer, text):
    """Word by word from memory is the same as the library's own whole-text pass, special tokens being text."""
    library = tokenizers.Tokenizer.from_str(tokenizer.definition)
    library.encode_special_tokens = True
    expected = library.encode(text.replace("\0", ""), add_special_tokens=False).ids
    tokens, lengths = tokenizer.encode_lines([text])
    assert tokens.tolist() == expected
    assert lengths.tolist() == [len(expected)]


@settings(max_examples=300, deadline=None)
@given(text=st.text("eeehnrtTMASK.,;:-[]0 ^é", max_size=80))
@example(text="the,the;the... [the][MASK],mill-river: .the 0the0 ^the^ thé,the")
def test_words_in_runs_have_the_ids_of_their_text(tokenizer, text):
    test_lines_have_the_ids_of_their_text.hypothesis.inner_test(tokenizer, text)


@pytest.mark.parametrize("text", ["［MASK],the", "the.﹇MASK]", "the[MASK],x", "［ＭASK],x", "“the,mill”,MASK]"])
def test_what_may_become_a_special_token_is_not_cut(text):
    """The normaliser breaks special tokens up, so it must see each whole, full-width brackets included."""
    counts = word_counts() | collections.Counter({"[MASK],KAM]": 50, "[x": 20})
    tokenizer = sentencepiece.build(lambda: counts, vocab_size=140)
    test_lines_have_the_ids_of_their_text.hypothesis.inner_test(tokenizer, text)


def test_pieces_across_runs_keep_words_whole(tokenizer):
    """Where a piece holds letters and other characters, as in a model trained without splitting by script."""
    definition = json.loads(tokenizer.definition)
    if definition["model"]["type"] == "BPE":
        definition["model"]["merges"].append(["r", "."])
        definition["model"]["vocab"]["r."] = 130
    else:
        definition["model"]["vocab"].append(["r.", -0.5])
    crossing = Tokenizer("sentencepiece", json.dumps(definition), Specials())
    text = "the river.river mill.r.e"
    assert 130 in crossing.encode(text)
    assert crossing.encode_lines([text])[0].tolist() == crossing.encode(text)


def test_words_are_forgotten_when_there_are_many(tokenizer, monkeypatch):
    monkeypatch.setattr("data_pipeline.tokenizers._REMEMBERED_WORDS", 3)
    again = Tokenizer(tokenizer.kind, tokenizer.definition, tokenizer.specials)
    for text in ("the old mill", "the river and the mill", "", "the mill the mill froze"):
        assert again.encode_lines([text, text])[0].tolist() == 2 * tokenizer.encode(text)


@settings(max_examples=50, deadline=None)
@given(lines=st.lists(hostile.texts, max_size=4))
def test_lines_are_encoded_on_their_own(tokenizer, lines):
    tokens, lengths = tokenizer.encode_lines(lines)
    each = [tokenizer.encode_lines([line])[0].tolist() for line in lines]
    assert lengths.tolist() == [len(ids) for ids in each]
    assert tokens.tolist() == [i for ids in each for i in ids]


@settings(max_examples=200, deadline=None)
@given(text=hostile.texts)
@example(text="[MASK] ［ＭＡＳＫ］ [MA\x01SK] [ＭASK]")
def test_a_corpus_holds_no_special_tokens(tokenizer, text):
    tokens, _ = tokenizer.encode_lines([text])
    assert not set(tokens.tolist()) & {0, 2, 3, 4}


def test_mask_in_text_is_the_mask_token(tokenizer):
    before, after = tokenizer.encode("the"), tokenizer.encode("river")
    assert tokenizer.encode("the [MASK] river") == [*before, 4, *after]
    assert tokenizer.encode("the[MASK]river") == [*before, 4, *after]


def test_word_starts(tokenizer):
    ids = tokenizer.encode("the unfrozen [MASK] 🦉🦉 water")
    starts = tokenizer.word_start[ids]
    words: list[list[str]] = []
    for piece, start in zip(tokenizer.pieces(ids), starts, strict=True):
        words = [*words, [piece]] if start else [*words[:-1], [*words[-1], piece]]
    assert ["".join(word).lstrip("▁") for word in words] == ["the", "unfrozen", "[MASK]", "[UNK]", "water"]
    assert tokenizer.word_start[:5].tolist() == [True, False, True, True, True]


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    np.testing.assert_array_equal(loaded.word_start, tokenizer.word_start)


def test_decode_gives_the_text_back(tokenizer):
    assert tokenizer.decode(tokenizer.encode("the  river ran\n")) == "the river ran"


def test_training_does_not_depend_on_the_order_of_the_words(tokenizer):
    counts = list(word_counts().items())
    random.Random(5).shuffle(counts)
    first = sentencepiece.build(word_counts, vocab_size=120)
    again = sentencepiece.build(lambda: dict(counts), vocab_size=120)
    assert first.fingerprint == again.fingerprint


@pytest.mark.parametrize("lowercase", [False, True])
def test_words_said_to_be_unchanged_are_their_only_part(lowercase):
    drawn, normalizer = random.Random(6), sentencepiece._normalizer(lowercase)
    characters = [*map(chr, range(0x21, 0x7F)), "[MASK]", "[SEP]", "é", "ﬁ", "Ａ", "［", "\u200b", "\u2581", "\u0301"]
    words = ["".join(drawn.choices(characters, k=drawn.randint(1, 9))) for _ in range(2000)] + characters
    unchanged = [word for word in words if sentencepiece._unchanged(lowercase)(word)]
    assert 300 < len(unchanged) < len(words)
    assert [normalizer.normalize_str(word).split(" ") for word in unchanged] == [[word] for word in unchanged]


def test_training_on_a_text_without_end_costs_no_more(monkeypatch):
    """The trainer's memory grows with the counts; beyond a bound their proportions are kept, not their sizes."""
    seen, real = [], sentencepiece._train
    monkeypatch.setattr(_training, "_WEIGHTED_CHARACTERS", 100_000)
    monkeypatch.setattr(sentencepiece, "_train", lambda words, *rest: seen.append(words) or real(words, *rest))
    long, longer = (
        sentencepiece.build(lambda n=n: {word: n * count for word, count in word_counts().items()}, vocab_size=120)
        for n in (10**4, 10**7)
    )
    assert long.definition == longer.definition
    assert sum(len(word) * count for word, count in seen[1]) == pytest.approx(100_000, rel=0.01)


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_a_vocabulary_larger_than_the_text_supports(algorithm):
    with pytest.raises(DataError, match=r"options\.vocab_size=9000 is more than the text supports") as caught:
        sentencepiece.build(word_counts, vocab_size=9000, algorithm=algorithm)
    largest = int(str(caught.value).rsplit(" ", 1)[1])
    assert sentencepiece.build(word_counts, vocab_size=largest, algorithm=algorithm).vocab_size == largest
    with pytest.raises(DataError, match=f"the largest that works is {largest}"):
        sentencepiece.build(word_counts, vocab_size=largest + 1, algorithm=algorithm)


def test_a_vocabulary_smaller_than_the_alphabet():
    with pytest.raises(DataError, match=r"options\.vocab_size=20 is less than the text's characters need") as caught:
        sentencepiece.build(word_counts, vocab_size=20)
    smallest = int(str(caught.value).rsplit(" ", 1)[1])
    assert sentencepiece.build(word_counts, vocab_size=smallest).vocab_size == smallest


def test_no_text_to_train_on():
    with pytest.raises(DataError, match="there is no word to train a tokenizer on"):
        sentencepiece.build(lambda: {"\x01": 1})


def given_model(path, algorithm: str = "unigram", **options) -> str:
    import sentencepiece as library

    model = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.split(".")),
        model_writer=model,
        model_type=algorithm,
        vocab_size=130,
        minloglevel=3,
        **options,
    )
    path.write_bytes(model.getvalue())
    return str(path)


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_a_given_model_keeps_its_ids(tmp_path, algorithm):
    """The ids of the SentencePiece library itself, with its own normaliser."""
    import sentencepiece as library

    path = given_model(tmp_path / "given.model", algorithm, pad_id=3, user_defined_symbols=["[MASK]"])
    original = library.SentencePieceProcessor(model_file=path)
    tokenizer = sentencepiece.build(word_counts, model=path)
    assert tokenizer.pieces(range(130)) == [original.id_to_piece(i) for i in range(130)]
    assert tokenizer.pieces([tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id]) == ["<pad>", "<unk>", "<s>"]
    for text in ["The teacher counted the children.", "naïve  café ﬁnd", "Ångström 中 river\u00a0mill", "aaaaaaaa"]:
        assert tokenizer.encode(text) == original.encode(text)
        assert tokenizer.encode_lines([text])[0].tolist() == original.encode(text)
    tokens = tokenizer.encode_lines(["a <s> in <unk> </s> text <pad>"])[0].tolist()
    assert not set(tokens) & {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id}


def test_a_given_model_without_a_mask_gets_one_at_the_end(tmp_path):
    tokenizer = sentencepiece.build(word_counts, model=given_model(tmp_path / "given.model"))
    assert tokenizer.pieces([130, 131]) == ["[PAD]", "[MASK]"]
    assert tokenizer.vocab_size == 132
    assert tokenizer.encode("the [MASK]")[-1] == tokenizer.mask_id


def test_given_models_that_cannot_be_used(tmp_path):
    with pytest.raises(FormatError, match=r"model='.*none.model' cannot be read: No such file"):
        sentencepiece.build(word_counts, model=str(tmp_path / "none.model"))
    (tmp_path / "text.model").write_text("not a model")
    with pytest.raises(FormatError, match="is not a SentencePiece model"):
        sentencepiece.build(word_counts, model=str(tmp_path / "text.model"))
    across = given_model(tmp_path / "across.model", split_by_whitespace=False)
    with pytest.raises(FormatError, match="goes across words"):
        sentencepiece.build(word_counts, model=across)
    suffixes = given_model(tmp_path / "suffix.model", treat_whitespace_as_suffix=True)
    with pytest.raises(FormatError, match=r"suffix\.model: "):
        sentencepiece.build(word_counts, model=suffixes)
