"""The command: a file of texts to a file of vectors, also if it is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from encoders import make_encoder, make_texts

from bert_jax import embed
from bert_jax.embedding import vector_file
from bert_jax.embedding.embedder import Embedder
from bert_jax.embedding.readout import chosen
from bert_jax.encoder import load
from bert_jax.formats import native
from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.texts import open_texts

TEXTS = make_texts(300)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder, encoder = tmp_path_factory.mktemp("model"), make_encoder()
    native.write(encoder.config, encoder.params, folder)
    encoder.tokenizer.save(folder / "tokenizer")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return tmp_path / "texts.txt"


def embedder_of(model: Path, **changes: object) -> Embedder:
    encoder = load(model)
    return encoder.embedder(chosen(encoder.readout, encoder.config), **changes)


def left_beside(output: Path) -> list[str]:
    return sorted(name for name in os.listdir(output.parent) if output.name in name and name != output.name)


def run(*flags: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bert_jax.embed", *flags]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


def test_the_vectors_are_those_of_the_library_in_order(model: Path, source: Path) -> None:
    output = source.with_name("vectors.npy")
    done = run(f"--model={model}", f"--input={source}", f"--output={output}", "--pooling=cls", "--dimensions=7")
    assert done.returncode == 0, done.stderr
    assert "300 vectors of 7" in done.stdout
    found = np.load(output)
    np.testing.assert_allclose(found, load(model).embed(TEXTS, "cls", dimensions=7), atol=1e-6)
    assert left_beside(output) == []


def test_bad_input_is_one_line(model: Path, source: Path) -> None:
    source.write_bytes(b"one\ntwo\nth\xffree\n")
    done = run(f"--model={model}", f"--input={source}", f"--output={source.with_name('v.npy')}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "texts.txt:3 is not UTF-8" in done.stderr


KILLED = """
import sys, time
from pathlib import Path
from bert_jax import embed
from test_embed_command import embedder_of
from data_pipeline.texts import open_texts
model, source, output = map(Path, sys.argv[1:])
embed.embed_file(embedder_of(model, batch_size=1), open_texts(source), output, {}, chunk=20)
"""


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_a_killed_run_goes_on_to_the_same_bytes(model: Path, source: Path, kind: str) -> None:
    output, whole = (source.with_name(f"{name}.{kind}") for name in ("killed", "whole"))
    note = output.with_name(f".{output.name}.progress.json")
    paths = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(model), str(source), str(output)], env=environment)
    while not note.exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    seen = embed.embed_file(embedder_of(model, batch_size=1), open_texts(source), output, {}, chunk=20)
    assert 0 < seen < len(TEXTS)
    assert embed.embed_file(embedder_of(model, batch_size=1), open_texts(source), whole, {}, chunk=20) == 0
    assert output.read_bytes() == whole.read_bytes()
    assert vector_file.read(output).shape == (300, 12)
    assert left_beside(output) == []


def test_what_an_earlier_run_left_is_only_taken_where_nothing_has_changed(model: Path, source: Path) -> None:
    output = source.with_name("vectors.npy")

    class StopError(Exception):
        pass

    class Stops(Embedder):
        def __call__(self, texts, done=None):
            if texts[0] == TEXTS[200]:
                raise StopError
            return super().__call__(texts, done)

    plain = embedder_of(model)
    stops = Stops(plain.model, plain.params, plain.tokenizer, plain.readout)
    for facts, seen in (({"a": 1}, 200), ({"a": 2}, 0)):
        with pytest.raises(StopError):
            embed.embed_file(stops, open_texts(source), output, {"a": 1}, chunk=100)
        assert embed.embed_file(plain, open_texts(source), output, facts, chunk=100) == seen


def test_a_file_that_another_process_writes_or_of_no_known_kind(tmp_path: Path) -> None:
    with (
        vector_file.opened(tmp_path / "v.npy", 3, 2, {}),
        pytest.raises(ConfigError, match="is being written by another process"),
        vector_file.opened(tmp_path / "v.npy", 3, 2, {}),
    ):
        pass
    with pytest.raises(ConfigError, match=r"v\.bin ends in neither \.npy nor \.parquet"):
        vector_file.check_ending(tmp_path / "v.bin")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as vectors"):
        vector_file.read(tmp_path / "bad.npy")


@pytest.mark.parametrize("limit", [10, 5000])
def test_a_disk_that_is_full_is_said_with_the_file(tmp_path: Path, limit: int) -> None:
    """A file that cannot grow beyond a limit, which is that of the header or of a later part."""
    program = f"""
import resource, numpy
from pathlib import Path
from bert_jax.embedding import vector_file
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    with vector_file.opened(Path("a.npy"), 1000, 8, {{}}) as file:
        file.write(numpy.zeros((1000, 8)))
except (OSError, ValueError) as error:
    print(error)
"""
    command, environment = [sys.executable, "-c", program], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.stderr == ""
    assert re.search(r"a\.npy needs 0.0 GB: File too large|File too large: 'a.npy'", done.stdout), done.stdout
