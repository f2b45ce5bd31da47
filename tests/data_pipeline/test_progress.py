"""What preparation says of its progress, on a terminal and in a log file."""

import os
import re
import subprocess
import sys
import time

import pytest
from tests.data_pipeline.test_prepare import corpus, data

from data_pipeline.prepare import prepare
from data_pipeline.preparing import progress


def test_a_log_file_gets_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.05)
    with progress.shown("reading", 4_000_000, True) as advance:
        time.sleep(0.3)  # nothing is done yet, and still it is said
        advance(1_000_000)
        time.sleep(0.3)
        advance(3_000_000)
    said = capsys.readouterr().err
    assert "\r" not in said
    lines = said.splitlines()
    assert lines[0] == "reading: 0:00"
    assert "reading: 1.0 of 4.0 MB (25%), 0:00" in lines
    assert re.fullmatch(r"reading: 4\.0 MB, 0:0[01]", lines[-1])
    assert len(lines) > 4


def test_a_stage_that_fails_is_not_said_to_be_done(capsys):
    with pytest.raises(ValueError, match="no"), progress.waiting("thinking", True):
        raise ValueError("no")
    assert capsys.readouterr().err == ""
    with progress.waiting("thinking", True):
        pass
    assert capsys.readouterr().err == "thinking: done, 0:00\n"


def test_every_stage_of_a_preparation_is_said(tmp_path, capsys):
    prepare(data(corpus(tmp_path)), tmp_path / "store")
    said = capsys.readouterr()
    stages = [line.split(":")[0] for line in said.err.splitlines()]
    assert stages == [
        "counting words",
        "training the tokenizer",
        "tokenizing",
        "comparing held-out with training text",
        "counting tokens and checksums",
    ]
    assert prepare(data(corpus(tmp_path, seed=1)), tmp_path / "quiet", progress=False)
    assert capsys.readouterr() == ("", "")


def test_tensorflow_says_nothing(tmp_path):
    """With a source that imports it, and no variable set that keeps it quiet."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.data_pipeline.test_prepare import Data, use\n"
        "from data_pipeline.prepare import prepare\n"
        "if __name__ == '__main__':\n"
        "    source = use('lazy_tensorflow.source')\n"
        "    data = Data(sources=(source,), tokenizer=use('byte_level', vocab_size=262), held_out=0.3, workers=1)\n"
        "    prepare(data, Path(sys.argv[1]))\n"
    )
    (tmp_path / "lazy_tensorflow").mkdir()
    (tmp_path / "lazy_tensorflow" / "__init__.py").write_text("")
    (tmp_path / "lazy_tensorflow" / "source.py").write_text(
        "from data_pipeline.sources import Document, Source, in_parts\n\n\n"
        "def parts():\n"
        "    import tensorflow as tf\n\n"
        "    for number in tf.data.Dataset.range(40).as_numpy_iterator():\n"
        "        yield from in_parts([Document(str(number), f'The river is {number} years old.')])\n\n\n"
        "def build(downloads):\n"
        "    return Source(size=0, parts=parts)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "GRPC_"))}
    environment["PYTHONPATH"] = os.pathsep.join([os.getcwd(), "tests", str(tmp_path)])
    command = [sys.executable, str(program), str(tmp_path / "store")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not re.fullmatch(r"[a-z -]+: (.*, )?\d+:\d\d", line)] == []
