"""What bench-quick measures of text is what a user's text goes through."""

from benchmarks import quick
from configuration.variants import names
from data_pipeline.sources import Document


def test_documents_go_through_every_rule_of_cleaning() -> None:
    assert sorted(quick.RULES) == sorted(names("data_pipeline.cleaning"))
    documents = [Document(str(i), text) for i, text in enumerate(quick.random_texts(documents=50))]
    assert set(quick.examiner()(documents)["stage"].tolist()) == {len(quick.RULES)}


def test_documents_become_sentences_of_known_words() -> None:
    texts = quick.random_texts(documents=50)
    assert texts == quick.random_texts(documents=50)
    piece = quick.encoder_of(quick.random_texts())([Document("a", texts[0])])
    assert len(piece.sentence_lengths) == texts[0].count(".")
    assert piece.tokens.size > 400
