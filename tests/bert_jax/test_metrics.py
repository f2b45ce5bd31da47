"""The training log: every step once, in full precision, whatever interrupts it."""

import fcntl
import io
import json
import math
import os
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.reporting import metrics
from bert_jax.reporting.loggers import tensorboard
from bert_jax.reporting.metrics import MetricsLog, drop_after, read_metrics
from data_pipeline.errors import DataError

VALUES = {"loss": 5.25, "learning_rate": 1e-3, "tokens_per_second": 9412.7, "step_seconds": 0.4}


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a terminal of a size; gives a function that reads what it shows."""

    def make(lines: int, columns: int):
        main, side = os.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        monkeypatch.setattr(sys, "stderr", os.fdopen(side, "w"))

        def read() -> str:
            shown = b""
            while select.select([main], [], [], 0.2)[0]:  # a terminal hands over piece by piece
                shown += os.read(main, 100_000)
            return shown.decode()

        return read

    return make


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: clock.now in seconds."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(metrics.time, "monotonic", lambda: Clock.now)
    return Clock


def log_steps(workdir: Path, start: int, stop: int, total: int = 100, **options) -> None:
    with MetricsLog(workdir, start, total, **options) as log:
        for step in range(start + 1, stop + 1):
            log(step, VALUES | {"loss": 1 / step})


def steps(workdir: Path) -> list[int]:
    return [record["step"] for record in read_metrics(workdir / "metrics.jsonl")]


# ---------------------------------------------------------------- metrics.jsonl


@given(st.floats())
def test_every_float_reads_back_as_itself(value):
    line = metrics.line(7, {"loss": value})
    loss = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["loss"]
    assert loss == value if math.isfinite(value) else loss is None


def test_what_is_not_finite_reads_as_nan(tmp_path):
    with MetricsLog(tmp_path, 0, 10) as log:
        log(1, {"loss": math.inf, "learning_rate": 0.1 + 0.2})
    (record,) = read_metrics(tmp_path / "metrics.jsonl")
    assert math.isnan(record["loss"])
    assert record["learning_rate"] == 0.30000000000000004
    assert next(iter(record)) == "step"


def test_a_resumed_run_logs_each_step_once(tmp_path):
    log_steps(tmp_path, 0, 9)
    before = (tmp_path / "metrics.jsonl").read_bytes().split(b"\n")
    log_steps(tmp_path, 4, 12)
    assert steps(tmp_path) == list(range(1, 13))
    assert (tmp_path / "metrics.jsonl").read_bytes().split(b"\n")[:4] == before[:4]


def test_a_line_cut_anywhere_is_repaired(tmp_path):
    log_steps(tmp_path, 0, 3)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = sum(cut >= end for end in ends)  # a line that lacks only its newline is whole
        assert steps(tmp_path) == list(range(1, kept + 1))
        drop_after(path, 2)
        assert path.read_bytes() == whole[: ends[min(kept, 2) - 1] + 1 if kept else 0]


def test_garbage_after_a_power_cut_is_repaired(tmp_path):
    log_steps(tmp_path, 0, 3)
    path = tmp_path / "metrics.jsonl"
    for garbage in (b"\x00\x00\x00\x00", b"\xff\xfe", b'{"loss": 5.0}', b"7"):
        path.write_bytes(path.read_bytes() + garbage)
        drop_after(path, 3)
        assert steps(tmp_path) == [1, 2, 3]


def test_a_broken_line_before_the_last_is_named(tmp_path):
    log_steps(tmp_path, 0, 3)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], '{"step": 2, "lo', lines[2]]) + "\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2 is not"):
        read_metrics(path)


def test_dropping_is_all_or_nothing(tmp_path, monkeypatch):
    log_steps(tmp_path, 0, 5)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        drop_after(path, 2)
    assert path.read_bytes() == whole


def test_a_killed_run_leaves_every_logged_step(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from bert_jax.reporting.metrics import MetricsLog\n"
        "log = MetricsLog(Path(sys.argv[1]), 0, 100)\n"
        "for step in range(1, 8): log(step, {'loss': 1 / step})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    assert [record["loss"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [1 / step for step in range(1, 8)]
    assert [event.step for event in events(tmp_path)[1:]] == list(range(1, 8))


# ---------------------------------------------------------------- the calling convention


def test_only_the_main_process_writes(tmp_path, capfd):
    log_steps(tmp_path / "run", 0, 3, enabled=False)
    assert not (tmp_path / "run").exists()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("enabled", [True, False])
def test_device_arrays_and_old_steps_are_refused(tmp_path, enabled):
    with MetricsLog(tmp_path, 4, 10, enabled=enabled) as log:
        with pytest.raises(TypeError, match="metric loss is a"):
            log(5, {"loss": jnp.float32(5.0)})
        with pytest.raises(ValueError, match="step 4 is logged after step 4"):
            log(4, VALUES)
        log(5, VALUES)
        with pytest.raises(ValueError, match="step 5 is logged after step 5"):
            log(5, VALUES)


def test_an_error_inside_closes_the_files_and_stays_the_error(tmp_path, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    close = tensorboard.Events.close
    monkeypatch.setattr(tensorboard.Events, "close", lambda self: (close(self), full()))
    log = MetricsLog(tmp_path, 0, 10)
    lines = log._loggers[0]
    log(1, VALUES)
    with pytest.raises(KeyboardInterrupt), log:
        raise KeyboardInterrupt
    assert lines.file.closed
    assert steps(tmp_path) == [1]
    log.close()


def test_an_error_while_closing_is_not_hidden(tmp_path, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboard.Events, "close", lambda self: full())
    with pytest.raises(OSError, match="No space left"), MetricsLog(tmp_path, 0, 10) as log:
        pass
    assert log._loggers[0].file.closed


# ---------------------------------------------------------------- TensorBoard


def events(workdir: Path) -> list:
    """The records of the event files in time's order, read by the format: length, checksum, bytes, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return sorted(found, key=lambda event: event.wall_time)


def test_tensorboard_gets_every_value(tmp_path):
    log_steps(tmp_path, 0, 3)
    version, *rest = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert [event.step for event in rest] == [1, 2, 3]
    values = {value.tag: value.simple_value for value in rest[2].summary.value}
    assert values == {tag: pytest.approx(value, rel=1e-7) for tag, value in (VALUES | {"loss": 1 / 3}).items()}


def test_tensorboard_is_told_what_a_resumed_run_replaces(tmp_path):
    log_steps(tmp_path, 0, 5)
    log_steps(tmp_path, 2, 4)
    again = [event for event in events(tmp_path) if event.HasField("session_log")]
    assert [(event.step, event.session_log.status) for event in again] == [(3, 1)]  # 1 is START
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


# ---------------------------------------------------------------- progress


def test_a_log_file_gets_a_line_now_and_then(tmp_path, monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with MetricsLog(tmp_path, 0, 100) as log:
        for step in range(2, 101, 2):
            clock.now += 1
            log(step, VALUES)
        log.say("done")
    lines = sys.stderr.getvalue().splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["2/100", "22/100", "42/100", "62/100", "82/100", "100/100"]
    assert lines[0] == "step 2/100  loss 5.2500  lr 0.001  9.41k tokens/s  400 ms/step"
    assert lines[1].startswith("step 22/100  00:39 left  loss 5.2500")
    assert lines[-1] == "done"


def test_the_time_left_follows_the_pace(tmp_path, monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with MetricsLog(tmp_path, 50, 1000) as log:
        clock.now += 60  # compiling
        for step in range(60, 1000, 10):
            log(step, VALUES)
            clock.now += 30
    for line in sys.stderr.getvalue().splitlines()[1:]:
        minutes, seconds = divmod(3 * (1000 - int(line.split()[1].partition("/")[0])), 60)
        assert f"/1000  {minutes:02}:{seconds:02} left  loss" in line


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_a_bar(tmp_path, clock, terminal, columns):
    read = terminal(24, columns)
    with MetricsLog(tmp_path, 400, 1000) as log:
        for step in (500, 600):
            log(step, VALUES)
            clock.now += 50
        log.say("a message")
    shown = [line for line in read().replace("\n", "\r").split("\r") if line.strip()]
    assert "400/1000" in shown[0]
    assert "a message" in shown
    assert "600/1000, 03:20 left  loss 5.2500  lr 0.001  9.41k tokens/s  400 ms/step" in shown[-1]
    assert shown[-1].startswith("█")
    assert max(map(len, shown)) <= columns


def test_a_terminal_of_unknown_size_gets_lines(tmp_path, terminal):
    read = terminal(0, 0)
    log_steps(tmp_path, 0, 1)
    assert read().startswith("step 1/100  loss 1.0000")
