"""Sentence vectors: pooling, packing, whitening, losses, search and the figures that they are judged by."""
