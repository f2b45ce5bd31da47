"""A dataset of TensorFlow Datasets by name and split: wikipedia, wiki40b, lm1b, pg19, c4, or one's own."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.errors import DataError
from data_pipeline.sources import Document, Part, Source, in_parts

# wiki40b writes the structure of an article as words.
_WIKI40B = re.compile(r"\s*_(?:START_ARTICLE|START_SECTION|START_PARAGRAPH|NEWLINE)_\s*")


FETCHES = True  # `build` may: it is not called only to see whether the text has changed


def build(
    downloads: Path,
    *,
    name: str = "",
    split: str = "train",
    text_field: str = "text",
    id_field: str = "",
    data_dir: str = "",
) -> Source:
    """Fetches and builds the dataset on the first run, as TensorFlow Datasets does.

    Args:
      name: "wikipedia/20230601.en", "lm1b", …
      split: "train", "train[:10%]", "train+validation", …
      text_field: the feature that holds the text ("book_text" in pg19).
      id_field: the feature that names the document; without it the name is dataset, split and number.
      data_dir: where datasets are kept, local or remote; the library's own folder by default.

    Raises:
      DataError: no such dataset, split or feature, or it cannot be fetched.
    """
    del downloads
    if not name:
        raise DataError("tfds.name is empty; give a dataset such as 'wikipedia/20230601.en'")
    builder = open_builder(name, data_dir)
    try:
        facts = builder.info.splits[split]
    except ValueError as error:
        known = ", ".join(builder.info.splits)
        raise DataError(f"tfds.split={split!r}: {str(error).splitlines()[0]} ({name} has {known})") from None
    features = list(builder.info.features)
    for field in filter(None, (text_field, id_field)):
        if field not in features:
            raise DataError(
                f"tfds dataset {name} has no feature {field!r} ({', '.join(features)}); set tfds.text_field"
            )
    return Source(
        size=facts.num_bytes,
        parts=functools.partial(_parts, name, data_dir, split, text_field, id_field),
        about=f"{builder.info.full_name} of TensorFlow Datasets, {facts.num_examples:,} examples of {split}",
        inputs=(builder.info.full_name, split, facts.num_examples),
    )


def open_builder(name: str, data_dir: str) -> Any:
    """The builder of a dataset that is prepared."""
    import tensorflow_datasets

    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir or None)
        builder.download_and_prepare()
    except tensorflow_datasets.core.DatasetNotFoundError:
        raise DataError(f"tfds.name={name!r} is no dataset of TensorFlow Datasets; check the name") from None
    except (ImportError, OSError, ValueError, tensorflow_datasets.download.DownloadError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"tfds dataset {name} cannot be fetched and built: {reason}") from None
    return builder


def _parts(name: str, data_dir: str, split: str, text_field: str, id_field: str) -> Iterator[Part]:
    return in_parts(_documents(name, data_dir, split, text_field, id_field))


def _documents(name: str, data_dir: str, split: str, text_field: str, id_field: str) -> Iterator[Document]:
    import tensorflow_datasets

    examples = open_builder(name, data_dir).as_dataset(split=split, shuffle_files=False)
    for i, example in enumerate(tensorflow_datasets.as_numpy(examples)):
        text = _text(example[text_field])
        if text.strip():
            yield Document(_text(example[id_field]) if id_field else f"{name}/{split}@{i}", text)


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    text = value.decode("utf-8", "replace")
    return _WIKI40B.sub("\n", text).strip() if "_START_" in text else text
