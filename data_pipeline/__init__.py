"""From text to batches: sources, sentences, tokenizers, the store, rows, batches."""

from configuration import early

early.begin()
