"""Splits from different sources: one to train on, another to evaluate on."""

from configuration.variants import ConfigError, Variant, load
from data_pipeline.errors import DataError
from data_pipeline.labelled import SPLITS, Labelled, Record


def build(*, train: Variant | None = None, dev: Variant | None = None, test: Variant | None = None) -> Labelled:
    """The training records of one source, the dev records of another, the test records of a third.

    Args:
      train, dev, test: files of this folder, each of which has that split.

    Raises:
      DataError: no source at all.
      ConfigError: one without its split.
    """
    given = {name: source for name, source in zip(SPLITS, (train, dev, test), strict=True) if source is not None}
    if not given:
        raise DataError("splits.train is empty; name a source for train, dev or test")
    opened = {name: load("data_pipeline.labelled", source)() for name, source in given.items()}
    for name, source in opened.items():
        if name not in source.splits:
            raise ConfigError(
                f"splits.{name} is {given[name].name}, which has no {name} split (there are: "
                f"{', '.join(source.splits)}); set splits.{name}.{name}"
            )

    def read(split: str) -> list[Record]:
        if split not in opened:
            raise ConfigError(f"splits has no {split} source (there are: {', '.join(opened)}); set splits.{split}")
        return opened[split].read(split)

    return Labelled(read, tuple(opened))
