"""How fast text becomes a store, against `datasets` and `tokenizers` on the same text with the same tokenizer.

    python benchmarks/prepare.py --text=corpus.txt --json=prepare.json --png=prepare.png

Three commands run, each in processes of its own, timed from their start to their end: a store with a
SentencePiece tokenizer that is trained on the text, a store with that same tokenizer given, and the
peer, as `run_mlm.py` of transformers prepares text: `Dataset.map` with `tokenizers`, then grouping to
rows of 512, in two processes, saved to disk. The peer finds no sentences, no words and no held-out
documents. That both have the same tokens is checked. Memory is the most that all processes of a
command held together: proportional set size, so that pages which they share count once.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts
from configuration import cli
from data_pipeline.sources import demo_corpus
from data_pipeline.store import Store

FLAGS = flags.FLAGS
LENGTH = 512  # tokens in the peer's rows

CONFIG = """
from bert_jax.config import Config, Data, Phase, use

data = Data(sources=(use("text_files", paths={text!r}),), tokenizer={tokenizer}, workers={workers})
config = Config(name="benchmark", data=data, phases=(Phase(steps=1, length=8, batch_size=1, learning_rate=1.0),))
"""


def define() -> None:
    charts.define()
    flags.DEFINE_string("text", "", "Text file, a blank line between documents; the demo corpus by default.")
    flags.DEFINE_integer("vocab_size", 32000, "V of the tokenizer.")
    flags.DEFINE_integer("workers", 2, "Processes.")
    flags.DEFINE_integer("rounds", 1, "How often the given tokenizer and the peer are measured; the best counts.")
    flags.DEFINE_string("tokenizer", "", "Tokenizer folder of a store; then none is trained.")
    flags.DEFINE_string("folder", "", "Where everything is written; a temporary folder by default.")
    flags.DEFINE_bool("peer", True, "Whether the peer runs.")
    flags.DEFINE_string("run_peer", "", "Tokenizer of the peer: what the peer's own process is started with.")


def main() -> dict[str, Any]:
    if FLAGS.run_peer:
        return peer(Path(FLAGS.text), Path(FLAGS.run_peer), Path(FLAGS.folder), FLAGS.workers)
    with tempfile.TemporaryDirectory() as temporary:
        return compare(Path(FLAGS.folder or temporary))


def compare(folder: Path) -> dict[str, Any]:
    text = Path(FLAGS.text) if FLAGS.text else demo_text(folder)
    size = text.stat().st_size
    figures: dict[str, Any] = {"text_bytes": size, "workers": FLAGS.workers}
    tokenizer = FLAGS.tokenizer
    if not tokenizer:
        trained = f"use('sentencepiece', vocab_size={FLAGS.vocab_size})"
        figures["trained"] = prepared(folder / "trained", text, trained)
        tokenizer = str(folder / "trained" / "store" / "tokenizer")
    for _ in range(FLAGS.rounds):
        given = prepared(folder / "given", text, f"use('existing', folder={tokenizer!r})")
        figures["given"] = min(figures.get("given", given), given, key=lambda run: run["seconds"])
        if FLAGS.peer:
            exported = folder / "exported"
            Store.open(folder / "given" / "store").tokenizer.export_huggingface(exported, LENGTH)
            other = peer_run(folder / "peer", text, exported)
            figures["peer"] = min(figures.get("peer", other), other, key=lambda run: run["seconds"])
            assert other["tokens"] == given["tokens"], (other["tokens"], given["tokens"])
    print(f"{size / 1e6:.1f} MB of text, {FLAGS.workers} processes, {figures['given']['tokens']:,} tokens")
    print(f"{'':<44}{'seconds':>8}{'MB/s':>8}{'MB of memory':>14}")
    for name, what in {
        "trained": "prepare, tokenizer trained",
        "given": "prepare, tokenizer given",
        "peer": "datasets and tokenizers, tokenizer given",
    }.items():
        if run := figures.get(name):
            run["mb_per_second"] = size / 1e6 / run["seconds"]
            memory = run["peak_bytes"] / 1e6
            print(f"{what:<44}{run['seconds']:>8.1f}{run['mb_per_second']:>8.1f}{memory:>14,.0f}")
    if FLAGS.peer:
        figures["times_peer"] = figures["peer"]["seconds"] / figures["given"]["seconds"]
        print(f"{'prepare / peer':<44}{'':>8}{figures['times_peer']:>7.1f}×")
    speeds = {name: figures[name]["mb_per_second"] for name in ("trained", "given", "peer") if name in figures}
    charts.bars({f"{size / 1e6:.0f} MB of text": speeds}, "MB a second")
    return figures


def demo_text(folder: Path) -> Path:
    text = folder / "demo.txt"
    folder.mkdir(parents=True, exist_ok=True)
    with open(text, "w", encoding="utf-8") as file:
        for part in demo_corpus.build(folder / "downloads").parts():
            for document in part.read():
                file.write("\n".join(line for line in document.text.split("\n") if line.strip()) + "\n\n")
    return text


def prepared(folder: Path, text: Path, tokenizer: str) -> dict[str, Any]:
    """Seconds and memory of the command, and the tokens in its store."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder / "config.py"
    config.write_text(CONFIG.format(text=str(text), tokenizer=tokenizer, workers=FLAGS.workers))
    run = measured(["-m", "data_pipeline.prepare", f"--config={config}", f"--output={folder / 'store'}"])
    store = Store.open(folder / "store")
    return run | {"tokens": sum(store.split(name).tokens for name in ("train", "held_out"))}


def peer_run(folder: Path, text: Path, tokenizer: Path) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [
        __file__,
        f"--run_peer={tokenizer}",
        f"--text={text}",
        f"--folder={folder}",
        f"--workers={FLAGS.workers}",
    ]
    run = measured([*command, f"--json={folder / 'peer.json'}"])
    return run | json.loads((folder / "peer.json").read_text())


def measured(command: list[str]) -> dict[str, float]:
    """Seconds that a Python command takes, and the most bytes that it and its processes held at once."""
    root = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, env=environment)
    while process.poll() is None:
        peak = max(peak, sum(map(held, family(process.pid))))
        time.sleep(0.2)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return {"seconds": seconds, "peak_bytes": peak}


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    try:
        children = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in children_of(task)]
    except OSError:
        return
    for child in children:
        yield from family(child)


def children_of(task: Path) -> list[int]:
    return [int(child) for child in (task / "children").read_text().split()]


def held(pid: int) -> int:
    """Bytes; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def peer(text: Path, tokenizer: Path, folder: Path, workers: int) -> dict[str, int]:
    """What `run_mlm.py` does, without special tokens and masks, which would make it slower."""
    os.environ |= {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import datasets
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(tokenizer, model_max_length=1 << 60)
    lines = datasets.load_dataset(
        "text", data_files=str(text), split="train", cache_dir=str(folder / "cache"), keep_linebreaks=False
    )
    tokenized = lines.map(
        functools.partial(peer_tokenize, encode),
        batched=True,
        num_proc=workers,
        remove_columns=["text"],
        new_fingerprint=hashlib.sha256(b"tokenized").hexdigest()[:16],
    )
    rows = tokenized.map(peer_group, batched=True, num_proc=workers)
    rows.save_to_disk(folder / "rows", num_proc=workers)
    return {"tokens": sum(map(len, rows.with_format("arrow")["input_ids"])), "rows": len(rows)}


def peer_tokenize(encode: Any, batch: dict[str, list[str]]) -> dict[str, list]:
    kept = [line for line in batch["text"] if line and not line.isspace()]
    options = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    return {"input_ids": encode(kept, **options)["input_ids"]}


def peer_group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
    """Rows of LENGTH tokens; the rest of a batch makes a shorter one, so that no token is lost."""
    tokens = [token for line in batch["input_ids"] for token in line]
    return {"input_ids": [tokens[i : i + LENGTH] for i in range(0, len(tokens), LENGTH)]}


if __name__ == "__main__":
    cli.run(main, define)
