"""RoBERTa's first two questions in small (Liu et al. 2019, tables 1 and 2), on equal tokens.

    python benchmarks/masks_and_rows.py --folder=runs/masks_and_rows --store=runs/demo/store

Masks: drawn anew each time (dynamic), or once for each row (static), over several epochs of a part of the text.
Rows: full sentences, sentences of one document, pairs of segments with the next-sentence prediction.
All are evaluated alike: full sentences, masked tokens alone.
"""

import dataclasses
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from charts import picture, save
from trainings import FLAGS, MASK_RATE, main, number, over_seeds, small

from bert_jax.config import Config, Data, Phase, use
from data_pipeline.store import Store
from data_pipeline.store.writer import write_store

flags.DEFINE_float("share", 0.012, "Share of the training documents that the masks are compared on.")
flags.DEFINE_integer("steps", 256, "Steps of 32 rows of --length tokens.")
flags.DEFINE_integer("length", 32, "Tokens in a row.")
flags.DEFINE_float("rate", 2e-3, "Peak learning rate of AdamW.")


def benchmark() -> dict[str, Any]:
    store = Store.open(FLAGS.store)
    part = part_of(store, FLAGS.share, Path(FLAGS.folder) / "part")
    base = recipe(store)
    repeated = dataclasses.replace(base, data=Data(store=str(part.path)))
    cases: dict[str, dict[str, Config]] = {
        "masks": {
            "dynamic": repeated,
            "static": dataclasses.replace(repeated, objective=use("mlm_static", mask_rate=MASK_RATE)),
        },
        "rows": {
            "full_sentences": base,
            "doc_sentences": rows(base, "doc_sentences"),
            "segment_pair and next sentence": dataclasses.replace(
                rows(base, "segment_pair"), objective=use("mlm_pair", mask_rate=MASK_RATE)
            ),
        },
    }
    results = {
        question: {name: over_seeds(f"{question}-{name}".replace(" ", "_"), config) for name, config in configs.items()}
        for question, configs in cases.items()
    }
    tokens = FLAGS.steps * 32 * FLAGS.length
    print(f"{tokens:,} places a run; the part for the masks has {part.split('train').tokens:,} tokens")
    for question, by_name in results.items():
        print(f"\n{question:<34}{'held-out':>10}{'spread':>9}{'training':>10}")
        for name, f in by_name.items():
            training = np.mean([run["train_loss"] for run in f["runs"]])
            print(f"{name:<34}{number(f['mean']):>10}{f['spread']:>9.4f}{training:>10.4f}")
    if FLAGS.png:
        draw(results)
    return {"tokens": tokens, "part_tokens": part.split("train").tokens, "results": results}


def recipe(store: Store) -> Config:
    """The training that the cases vary."""
    schedule = use("linear", warmup=0.1)
    phase = Phase(FLAGS.steps, FLAGS.length, batch_size=32, learning_rate=FLAGS.rate, schedule=schedule)
    return small(store, phase, optimizer=use("adamw", b2=0.98))


def rows(config: Config, name: str) -> Config:
    """The training on other rows."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, rows=use(name)))


def part_of(store: Store, share: float, path: Path) -> Store:
    """A store of the first `share` of the training documents, and of all held-out ones."""
    if path.exists():
        return Store.open(path)
    documents: dict[str, list[list[list[int]]]] = {}
    for split, kept in (("train", share), ("held_out", 1.0)):
        wanted = int(kept * store.split(split).documents)
        documents[split] = []
        for shard in store.split(split).shards:
            for first, last in zip(shard.document_offsets[:-1], shard.document_offsets[1:], strict=True):
                if len(documents[split]) == wanted:
                    break
                ends = np.asarray(shard.sentence_offsets[int(first) : int(last) + 1], np.int64)
                sentences = [shard.tokens[a:b].tolist() for a, b in itertools.pairwise(ends)]
                documents[split].append(sentences)
    print(f"── {path}", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_store(path, documents, vocab_size=store.vocab_size, tokenizer=store.tokenizer)


def draw(results: dict[str, Any]) -> None:
    """Held-out losses, a bar from the lowest to the highest seed."""
    figure, axes = picture(10.0, 2)
    for side, (question, by_name) in zip(axes, results.items(), strict=True):
        for place, f in enumerate(by_name.values()):
            side.plot([min(f["losses"]), max(f["losses"])], [place, place], color="#9dbbe6", linewidth=5)
            side.plot(f["losses"], [place] * len(f["losses"]), "o", color="#1f5fbf", markersize=5)
        side.set_yticks(range(len(by_name)), list(by_name))
        side.invert_yaxis()
        side.set_title(f"{question}: held-out loss, nat", loc="left", fontsize=10)
    save(figure, FLAGS.png)


if __name__ == "__main__":
    main(benchmark)
