"""Modelling files that exported folders carry; transformers runs them, this project does not."""
