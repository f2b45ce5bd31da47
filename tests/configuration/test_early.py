"""Ctrl-C while a command imports, terminals without Unicode, and silent libraries, for every command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configuration import early

COMMANDS = [
    *(f"bert_jax.{name}" for name in ("train", "pretrain", "sweep", "trace", "compile_tpu")),
    *(f"bert_jax.{name}" for name in ("evaluate", "fill_mask", "convert", "report")),
    *("data_pipeline.prepare", "data_pipeline.beam"),
]
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_during_imports_is_one_line(command: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    package = command.partition(".")[0]
    assert any(line.endswith(f"| {package}\n") for line in process.stderr)  # the package is imported, its file is not
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    said = [line for line in rest.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, out, said) == (early.STOPPED, "", [early.SAID])


def test_a_program_that_imports_the_package_keeps_its_own_ctrl_c() -> None:
    program = "import signal, bert_jax, data_pipeline; print(signal.getsignal(signal.SIGINT).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "default_int_handler\n"


def test_ctrl_c_in_a_terminal_reaches_the_workers_too_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n\n".join(f"Some words of text {i}." for i in range(1000)))
    flags = ["--config=configs/demo.py", f"--output={tmp_path / 'store'}", "--config.data.workers=2"]
    text = ["--config.data.sources.0=text_files", f"--config.data.sources.0.paths={tmp_path / 'text.txt'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "data_pipeline.prepare", *flags, *text],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as a terminal gives each command
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(600):
        if len(children.read_text().split()) >= 2:  # the pool's own process, and the first worker, which imports
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == early.STOPPED
    assert "Traceback" not in said
    assert said.endswith(f"{early.SAID}\n")


@pytest.mark.parametrize("command", [*COMMANDS, "launch.cloud_tpu"])
def test_help_in_a_terminal_without_unicode(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", command, "--help"], capture_output=True, env=os.environ | ASCII, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


def test_an_argument_that_the_encoding_lacks_is_one_line(tmp_path: Path) -> None:
    flags = ["--config=configs/demo.py", f"--workdir={tmp_path}", "--config.name=ü"]
    done = subprocess.run(
        [sys.executable, "-m", "bert_jax.train", *flags], capture_output=True, env=os.environ | ASCII, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: '--config.name=\\udcc3\\udcbc' is no text in the encoding ascii")
    assert done.stderr.isascii()
    assert done.stderr.count(b"\n") == 1


def test_tensorflow_is_silent_from_the_first_import_and_in_children() -> None:
    """JAX sets a level of its own when it is imported, which then stays."""
    fresh = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    child = "subprocess.run([sys.executable, '-c', 'import tensorflow'])"
    program = f"import subprocess, sys; sys.argv[0] = '-m'; import bert_jax, jax, tensorflow; {child}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=fresh, check=True)
    assert (done.stdout, done.stderr) == ("", "")


CTRL_C = """
import gc, os, signal, time
from configuration import cli

def send():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0)  # here Python raises it

def in_a_callback(*_):
    gc.callbacks.clear()
    send()

def main():
    {}
    time.sleep(9)

cli.run(main)
"""


@pytest.mark.parametrize("where", ["exec('send()', globals())", "gc.callbacks.append(in_a_callback); gc.collect()"])
def test_ctrl_c_in_an_exec_or_a_callback_is_that_of_the_command(tmp_path: Path, where: str) -> None:
    (tmp_path / "command.py").write_text(CTRL_C.format(where))
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-m", "command"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert (done.returncode, done.stderr) == (early.STOPPED, f"{early.SAID}\n")
