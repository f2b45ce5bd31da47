"""Limits of a document's length."""

import functools

from configuration.variants import ConfigError
from data_pipeline.cleaning import Remove


def build(*, least: int = 200, most: int = 0) -> Remove:
    """Length in characters: it means about the same in every language, unlike the number of words.

    Args:
      least: shorter documents go.
      most: longer ones go; 0 for no limit.
    """
    if least < 0 or most < 0 or 0 < most < least:
        raise ConfigError(f"config.data.cleaning: length.least={least} and length.most={most} leave no document")
    return Remove(functools.partial(_reason, least=least, most=most))


def _reason(text: str, *, least: int, most: int) -> str:
    if len(text) < least:
        return f"below {least} characters"
    if most and len(text) > most:
        return f"above {most} characters"
    return ""
