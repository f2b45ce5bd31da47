"""The formats that use every token: full_sentences and doc_sentences."""

import numpy as np
import pytest
import texts
from hypothesis import given
from hypothesis import strategies as st
from texts import offsets

from configuration.variants import load, use
from data_pipeline.batches import pipeline
from data_pipeline.rows import Spans, _units, specials

DOCUMENTS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), min_size=1, max_size=8)


def rows_of(name: str, documents: list[list[int]], length: int, isolate: bool) -> tuple[Spans, str]:
    row_format = load("data_pipeline.rows", use(name))(length, isolate)
    blocks = list(row_format.spans(offsets(documents)))
    return Spans(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True))), row_format.opening


def plain_greedy(documents: list[list[int]], length: int, isolate: bool, cross: bool) -> list[list[tuple[int, int]]]:
    """The same rows by the rule itself, one sentence at a time: lists of (start, length) of the pieces."""
    rows: list[list[tuple[int, int]]] = []
    start, last_document, used = 0, -1, length
    for number, document in enumerate(documents):
        for sentence in document:
            while sentence:
                part = min(sentence, length - 2)
                new_piece = number != last_document
                cost = part + (2 if isolate else 1) * new_piece
                if used + cost > length or (new_piece and not cross):
                    rows.append([(start, part)])
                    used = 2 + part
                elif new_piece:
                    rows[-1].append((start, part))
                    used += cost
                else:
                    first, size = rows[-1][-1]
                    rows[-1][-1] = (first, size + part)
                    used += part
                last_document, start, sentence = number, start + part, sentence - part
    return rows


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("name", ["full_sentences", "doc_sentences"])
@given(documents=DOCUMENTS, length=st.integers(8, 40))
def test_rows_are_those_of_the_rule(name, isolate, documents, length):
    spans, _ = rows_of(name, documents, length, isolate)
    pieces = list(zip(spans.starts.tolist(), spans.lengths.tolist(), strict=True))
    ends = np.cumsum(spans.counts)
    rows = [pieces[end - count : end] for end, count in zip(ends, spans.counts, strict=True)]
    assert rows == plain_greedy(documents, length, isolate and name == "full_sentences", name == "full_sentences")


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("name", ["full_sentences", "doc_sentences"])
@given(documents=DOCUMENTS, length=st.integers(8, 40))
def test_every_token_stands_in_exactly_one_row_that_fits(name, isolate, documents, length):
    spans, opening = rows_of(name, documents, length, isolate)
    seen = np.concatenate([np.arange(s, s + n) for s, n in zip(spans.starts, spans.lengths, strict=True)])
    assert np.array_equal(np.sort(seen), np.arange(sum(map(sum, documents))))
    filled = np.add.reduceat(spans.lengths, np.cumsum(spans.counts) - spans.counts) + specials(spans.counts, opening)
    assert filled.max() <= length
    document_of_token = np.repeat(np.arange(len(documents)), [sum(d) for d in documents])
    for start, size, document in zip(spans.starts, spans.lengths, spans.documents, strict=True):
        assert set(document_of_token[start : start + size]) == {document}


@pytest.mark.parametrize("name", ["full_sentences", "doc_sentences"])
@given(documents=DOCUMENTS, block=st.integers(1, 5))
def test_rows_do_not_depend_on_how_many_sentences_are_looked_at_together(name, documents, block):
    whole, _ = rows_of(name, documents, 16, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_units, "_BLOCK", block)
        parts, _ = rows_of(name, documents, 16, True)
    for a, b in zip(whole, parts, strict=True):
        assert np.array_equal(a, b)


def test_sentences_without_tokens_and_documents_without_sentences_make_no_piece():
    spans, _ = rows_of("full_sentences", [[0, 3], [], [0], [2]], 20, True)
    assert spans.counts.tolist() == [2]
    assert spans.starts.tolist() == [0, 3]
    assert spans.lengths.tolist() == [3, 2]
    assert spans.documents.tolist() == [0, 3]


@pytest.mark.parametrize("name", ["rows", "starts", "lengths", "documents"])
def test_a_flipped_bit_in_the_index_is_found_and_the_index_made_again(tmp_path, capsys, name):
    split = texts.store(tmp_path, [[3, 4, 5], [6, 7], [8]] * 20).split("train")
    read = lambda: pipeline.PackedText([split], use("full_sentences"), 37, texts.SPECIALS).batch(0, 8)
    wanted = read()
    (file,) = tmp_path.rglob(f"{name}.bin")
    damaged = bytearray(file.read_bytes())
    damaged[9] ^= 1
    file.write_bytes(damaged)
    for field, values in read().items():
        np.testing.assert_array_equal(values, wanted[field])
    assert "is damaged; it is made again" in capsys.readouterr().err
