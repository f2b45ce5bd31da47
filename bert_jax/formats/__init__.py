"""Checkpoints of other projects, and ours on disk: one file a format, each a table of names and shapes."""
