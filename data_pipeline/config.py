"""What a configuration says of the text: from its sources to the rows of a batch."""

import dataclasses

from configuration.variants import Variant, require, use

MOST_WORKERS = 1024


@dataclasses.dataclass(frozen=True)
class Data:
    """From text to rows. Everything but `rows` and `weights` is fixed when the store is prepared.

    The tokenizer is trained on the text, or read where an option names a file:

        use("sentencepiece", vocab_size=32000)   any language, also without spaces; model="….model" for a given one
        use("wordpiece", vocab_size=30522)       as BERT has it, lowercase=True as its uncased models; vocab="vocab.txt"
        use("byte_level", vocab_size=50265)      as RoBERTa has it: no text is unknown; file="tokenizer.json"
        use("existing", folder="stores/a/tokenizer"), use("checkpoint", folder="…")   that of a store or an encoder,
                                                 whose tokenizer can learn more: new_pieces=2000
    """

    store: str = ""  # folder of the prepared store, local or remote; empty for `store` in the work folder
    cache_gb: float = 0  # disk space for the cache of remote stores; 0 for nine tenths of the free space
    sources: tuple[Variant, ...] = ()  # files of data_pipeline/sources, read in this order
    cleaning: tuple[Variant, ...] = ()  # files of data_pipeline/cleaning: rules that run first, in this order
    sentences: Variant = use("english")  # a file of data_pipeline/sentences: where sentences end
    tokenizer: Variant = use("sentencepiece")  # a file of data_pipeline/tokenizers
    words: Variant = use("pieces")  # a file of data_pipeline/words: which tokens start a word, to mask whole words
    annotations: tuple[Variant, ...] = ()  # files of data_pipeline/annotations: further marks of each token
    held_out: float = 0.02  # share of documents kept for evaluation, chosen by a hash of each document
    workers: int = 0  # processes of prepare; 0 for one each core. The store does not depend on it
    rows: Variant = use("full_sentences")  # a file of data_pipeline/rows: how sentences fill rows
    weights: tuple[float, ...] = ()  # sampling weight per source; empty: proportional to size

    def __post_init__(self) -> None:
        require(0 < self.held_out < 1, "data.held_out", self.held_out, "a share between 0 and 1")
        require(
            not (self.weights and self.sources) or len(self.weights) == len(self.sources),
            "data.weights",
            self.weights,
            f"one number for each of the {len(self.sources)} sources, or empty",
        )
        require(all(0 < w < float("inf") for w in self.weights), "data.weights", self.weights, "numbers above 0")
        cache_gb, workers = self.cache_gb, self.workers
        require(0 <= cache_gb < float("inf"), "data.cache_gb", cache_gb, "0 (nine tenths of what is free) or more")
        require(0 <= workers <= MOST_WORKERS, "data.workers", workers, f"0 (one each core) to {MOST_WORKERS}")
