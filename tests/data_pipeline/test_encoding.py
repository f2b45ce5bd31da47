"""A store's ids are those of whole documents, as the exported tokenizer encodes them, cut at sentences."""

import numpy as np
import pytest
import tokenizers

from configuration.variants import use
from data_pipeline.preparing.encoding import EncodePart
from data_pipeline.sources import Document
from data_pipeline.tokenizers import byte_level, sentencepiece, wordpiece

transformers = pytest.importorskip("transformers")

TEXTS = [
    "The river bends. The old mill turns its wheel! Does the water run down? It does.",
    "春眠不觉晓。处处闻啼鸟！夜来风雨声，花落知多少？“好诗。”他说。",
    "今日は良い天気です。散歩に行きましょう！「はい。」と彼女は言った。",
    "วันนี้อากาศดี ไปเดินเล่นกันเถอะ",
    "We say 你好。Then we leave. 再见！Good bye. [MASK] is text。And 12.5 too.",
    "一。二。三。",
    "Caf\u00e9 na\u00efve. \U0001f600\U0001f680 Up! e\u0301\u0323 done. \u200bzero\u200d width.",
    "no end",
]


def corpus():
    return [text for text in TEXTS for _ in range(3)]


@pytest.fixture(scope="module", params=["sentencepiece", "wordpiece", "byte_level"])
def tokenizer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    if request.param == "sentencepiece":
        counts = {}
        for word in " ".join(corpus()).split():
            counts[word] = counts.get(word, 0) + 1
        return sentencepiece.build(lambda: counts, vocab_size=140)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if request.param == "wordpiece":
        trained = tokenizers.BertWordPieceTokenizer(lowercase=False)
        trained.train_from_iterator(corpus(), vocab_size=300, min_frequency=1, special_tokens=specials)
        trained.save_model(str(folder))
        return wordpiece.build(dict, vocab=str(folder / "vocab.txt"), lowercase=False)
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(corpus(), vocab_size=500, min_frequency=2, special_tokens=specials)
    trained.save(str(folder / "tokenizer.json"))
    return byte_level.build(dict, file=str(folder / "tokenizer.json"))


@pytest.mark.parametrize("sentences", ["chinese", "english", "newline"])
def test_ids_are_those_of_the_whole_document(tokenizer, tmp_path, sentences):
    tokenizer.save(tmp_path / "tokenizer")
    tokenizer.export_huggingface(tmp_path / "export", 512)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "export")
    texts = [*TEXTS, "\n".join(TEXTS), "  ".join(TEXTS)]
    encode = EncodePart(tmp_path / "tokenizer", use(sentences), use("pieces"), (), 0.1)
    piece = encode.encode([Document(str(i), text) for i, text in enumerate(texts)])
    ends = np.cumsum(piece.sentence_lengths)[np.cumsum(piece.document_lengths) - 1]
    found = np.split(piece.tokens, ends[:-1])
    for text, ids in zip(texts, found, strict=True):
        plain = " ".join(text.split())
        wanted = theirs(plain, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert ids.tolist() == wanted, text
    assert sum(piece.sentence_lengths) == len(piece.tokens)


def test_sentences_are_cut_where_they_end(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    encode = EncodePart(tmp_path / "tokenizer", use("chinese"), use("pieces"), (), 0.1)
    piece = encode.encode([Document("0", "一。二。三。")])
    assert len(piece.sentence_lengths) == 3
    starts = np.cumsum(piece.sentence_lengths) - piece.sentence_lengths
    texts = [tokenizer.decode(piece.tokens[a : a + n]) for a, n in zip(starts, piece.sentence_lengths, strict=True)]
    assert [text.replace(" ", "") for text in texts] == ["一。", "二。", "三。"]
