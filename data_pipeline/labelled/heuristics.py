"""Another set's pairs of sentences to learn entailment from, and pairs to test with where shared words mislead.

The idea is that of HANS (McCoy et al. 2019, arXiv 1902.01007): every second sentence is made of words of the first, so
that an encoder which takes shared words, a shared stretch or a shared constituent for entailment is wrong on half of
the pairs. The templates and words are our own.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from configuration import variants
from configuration.variants import Variant, require, use
from data_pipeline.errors import DataError
from data_pipeline.labelled import Labelled, Record, column

TEXT = "premise"
ENTAILED, OTHER = "entailment", "other"
TRIES = 100  # draws of words before a pair may come twice


class Template(NamedTuple):
    """What a pair of sentences looks like; `_fillers` says what stands for a letter."""

    premise: str
    hypothesis: str


# By the heuristic that takes all of them for entailed, and whether they are.
TEMPLATES = {
    ("lexical_overlap", False): (
        Template("The {a} {v} the {b}.", "The {b} {v} the {a}."),
        Template("The {a} was {v} by the {b}.", "The {a} {v} the {b}."),
        Template("The {a} {near} the {b} {v} the {c}.", "The {c} {v} the {b}."),
        Template("The {a} who {v} the {b} {w} the {c}.", "The {c} {w} the {b}."),
        Template("The {a} and the {b} {v} the {c}.", "The {b} {v} the {a}."),
    ),
    ("lexical_overlap", True): (
        Template("The {a} was {v} by the {b}.", "The {b} {v} the {a}."),
        Template("The {a} {v} the {b} and the {c}.", "The {a} {v} the {c}."),
        Template("The {a} who {v} the {b} {w} the {c}.", "The {a} {w} the {c}."),
        Template("The {a} {near} the {b} {v} the {c}.", "The {a} {v} the {c}."),
        Template("The {a} and the {b} {v} the {c}.", "The {a} {v} the {c}."),
    ),
    ("subsequence", False): (
        Template("The {a} {near} the {b} {v} the {c}.", "The {b} {v} the {c}."),
        Template("The {a} who {v} the {b} {i}.", "The {b} {i}."),
        Template("The {a} {feared} the {b} {i}.", "The {a} {feared} the {b}."),
        Template("While the {a} {watched} the {b} {i}.", "The {a} {watched} the {b}."),
        Template("The {a} {v} by the {b} {i}.", "The {b} {i}."),
    ),
    ("subsequence", True): (
        Template("The {a} and the {b} {v} the {c}.", "The {b} {v} the {c}."),
        Template("{J} {a}s {v} the {b}.", "{A}s {v} the {b}."),
        Template("The {a} {v} the {b} {near} the {c}.", "The {a} {v} the {b}."),
        Template("The {a} {v} the {b} before the {c} {i}.", "The {a} {v} the {b}."),
        Template("The {a} {i} and {v} the {b}.", "The {a} {i}."),
    ),
    ("constituent", False): (
        Template("If the {a} {i}, the {b} {v} the {c}.", "The {a} {i}."),
        Template("Unless the {a} {i}, the {b} {v} the {c}.", "The {b} {v} the {c}."),
        Template("The {a} {claimed} that the {b} {i}.", "The {b} {i}."),
        Template("The {a} {i}, or the {b} {v} the {c}.", "The {b} {v} the {c}."),
        Template("Perhaps the {a} {v} the {b}.", "The {a} {v} the {b}."),
    ),
    ("constituent", True): (
        Template("Because the {a} {i}, the {b} {v} the {c}.", "The {a} {i}."),
        Template("After the {a} {i}, the {b} {v} the {c}.", "The {b} {v} the {c}."),
        Template("The {a} {knew} that the {b} {i}.", "The {b} {i}."),
        Template("The {a} {i}, and the {b} {v} the {c}.", "The {b} {v} the {c}."),
        Template("Certainly the {a} {v} the {b}.", "The {a} {v} the {b}."),
    ),
}
PEOPLE = ["baker", "pilot", "nurse", "plumber", "singer", "farmer", "painter", "driver", "teacher", "lawyer"]
WORDS = {
    "v": ["thanked", "helped", "visited", "called", "admired", "followed", "praised", "advised", "greeted", "invited"],
    "i": ["laughed", "slept", "arrived", "waited", "shouted", "danced", "resigned", "smiled"],
    "near": ["near", "behind", "next to", "in front of"],
    "feared": ["believed", "doubted", "feared", "suspected"],  # a person, or that something is so
    "claimed": ["claimed", "hoped", "believed", "suspected"],
    "knew": ["knew", "noticed", "remembered", "forgot"],
    "watched": ["watched", "followed", "answered", "visited", "helped"],  # with an object or without
    "j": ["happy", "tired", "young", "famous", "polite"],
}


def build(
    *,
    learnt: Variant = use(""),
    first: str = "premise",
    second: str = "hypothesis",
    label: str = "label",
    entailed: str = "entailment",
    each: int = 100,
    seed: int = 0,
) -> Labelled:
    """Records with `premise`, `hypothesis`, `label` (entailment or other) and `group`, empty where they are learnt.

    Args:
      learnt: another source (its options too), whose train and dev splits are kept and whose test split is not.
      first, second, label: its columns.
      entailed: its label of pairs whose second sentence follows from the first.
      each: test pairs by each of the templates.
      seed: of their words.

    Raises:
      DataError: there is no source to learn from, or it has no train split; while reading: no pair that is entailed.
    """
    if not learnt.name:
        raise DataError("heuristics.learnt is empty; name a source of entailment to learn from, such as tfds")
    require(each >= 1, "source.each", each, "at least 1")
    source = variants.load("data_pipeline.labelled", learnt)()
    if "train" not in source.splits:
        raise DataError(f"heuristics.learnt={learnt.name} has no train split; name its files")

    def read(split: str) -> list[Record]:
        if split == "test":
            return list(pairs(each, seed))
        records = source.read(split)
        if not any(str(column(record, label)) == entailed for record in records):
            raise DataError(f"no record of heuristics.learnt has {label}={entailed!r}; set heuristics.entailed")
        return [
            Record(
                {
                    "premise": column(record, first),
                    "hypothesis": column(record, second),
                    "label": ENTAILED if str(column(record, label)) == entailed else OTHER,
                    "group": "",
                },
                record.where,
            )
            for record in records
        ]

    return Labelled(read, (*(split for split in source.splits if split != "test"), "test"))


def pairs(each: int, seed: int) -> Iterator[Record]:
    """`each` pairs by each template, no two of a template alike as long as there are others."""
    rng = np.random.default_rng(seed)
    for (heuristic, follows), templates in TEMPLATES.items():
        group = f"{heuristic}_{'entailed' if follows else 'not_entailed'}"
        for number, template in enumerate(templates):
            seen: set[str] = set()
            for pair in range(each):
                for _ in range(TRIES):
                    words = _fillers(rng)
                    premise, hypothesis = (text.format(**words) for text in template)
                    if premise not in seen:
                        break
                seen.add(premise)
                yield Record(
                    {
                        "premise": premise,
                        "hypothesis": hypothesis,
                        "label": ENTAILED if follows else OTHER,
                        "group": group,
                    },
                    f"{group}:{number * each + pair + 1}",
                )


def _fillers(rng: np.random.Generator) -> dict[str, str]:
    """Words for every letter: three people, two verbs that differ, and one of each other kind."""
    people = dict(zip("abc", rng.choice(PEOPLE, 3, replace=False).tolist(), strict=True))
    v, w = rng.choice(WORDS["v"], 2, replace=False).tolist()
    others = {kind: str(rng.choice(words)) for kind, words in WORDS.items() if kind != "v"}
    return {**people, "v": v, "w": w, **others, "A": people["a"].capitalize(), "J": others["j"].capitalize()}
