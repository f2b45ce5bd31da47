"""A labelled set of TensorFlow Datasets by name: glue/sst2, squad, conll2003, imdb_reviews, or one's own."""

from typing import Any

from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import SPLITS, Labelled, Record
from data_pipeline.labelled.squad import Misplaced, Placing
from data_pipeline.sources.tfds import open_builder

_ANSWERED = {"context", "question", "answers"}  # features of a set like SQuAD


def build(
    *,
    name: str = "",
    train: str = "train",
    dev: str | None = None,
    test: str = "",
    data_dir: str = "",
    misplaced: Misplaced = "find",
) -> Labelled:
    """Fetches and builds the dataset on the first run, as TensorFlow Datasets does.

    The columns are the features. Labels become their names, or None where they are hidden (-1). Sets like SQuAD
    have the columns that `squad` gives.

    Args:
      name: "glue/sst2", "squad", …
      train, dev, test: splits such as "train[:90%]"; empty for none. The dev split is by default "validation" where
        the set has one; there is no test split unless named, since the labels of many are hidden.
      data_dir: where datasets are kept, local or remote; the library's own folder by default.
      misplaced: as of `squad`.

    Raises:
      DataError: no such dataset or split, or it cannot be fetched; while reading: text that is not UTF-8.
    """
    if not name:
        raise DataError("tfds.name is empty; give a dataset such as 'glue/sst2'")
    builder = open_builder(name, data_dir)
    known = list(builder.info.splits)
    stated = {
        "train": train,
        "dev": ("validation" if "validation" in known else "") if dev is None else dev,
        "test": test,
    }
    given = {split: stated[split] for split in SPLITS if stated[split]}
    for option, split in given.items():
        try:
            _ = builder.info.splits[split]
        except ValueError:
            raise DataError(f"tfds.{option}={split!r} is no split of it ({name} has {', '.join(known)})") from None

    def read(split: str) -> list[Record]:
        if split not in given:
            raise ConfigError(f"tfds has no {split} split (there are: {', '.join(given)}); set tfds.{split}")
        return _read(builder, name, given[split], misplaced)

    return Labelled(read, tuple(given))


def _read(builder: Any, name: str, split: str, misplaced: Misplaced) -> list[Record]:
    import tensorflow_datasets

    examples = tensorflow_datasets.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
    placing = Placing(misplaced)
    records = []
    for i, example in enumerate(examples):
        where = f"{name}/{split} example {i}"
        values = _plain(where, builder.info.features, example)
        records.append(Record(_answered(where, values, placing) if values.keys() >= _ANSWERED else values, where))
    placing.report(f"{name}/{split}")
    return records


def _plain(where: str, feature: Any, value: Any) -> Any:
    """A feature's value as Python has it: labels by name, text as text."""
    from tensorflow_datasets import features

    if isinstance(feature, features.FeaturesDict):
        return {name: _plain(where, feature[name], value[name]) for name in feature}
    if isinstance(feature, features.Sequence):
        inner = feature.feature
        if isinstance(inner, features.FeaturesDict):  # stored as a dict of lists
            columns = {name: _plain(where, features.Sequence(inner[name]), value[name]) for name in inner}
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return [_plain(where, inner, item) for item in value]
    if isinstance(feature, features.ClassLabel):
        return feature.int2str(int(value)) if value >= 0 else None
    return _text(where, value.tolist() if hasattr(value, "tolist") else value)


def _text(where: str, value: Any) -> Any:
    """A value, or those of a list, with bytes as text."""
    if isinstance(value, list):
        return [_text(where, item) for item in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8: byte 0x{value[error.start]:02x} of {value!r:.40}") from None


def _answered(where: str, values: dict[str, Any], placing: Placing) -> dict[str, Any]:
    """The columns of `squad`."""
    answers = values["answers"]
    impossible = bool(values.get("is_impossible", False))
    placed = [placing(where, values["context"], answer["text"], answer["answer_start"]) for answer in answers]
    return {
        "id": str(values.get("id", where)),
        "question": values["question"],
        "context": values["context"],
        "answers": [] if impossible else placed,
        "impossible": impossible,
    }
