"""TensorBoard events in the work folder."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_jax.reporting.loggers import Logger, Run


def build(run: Run) -> "Events":
    """The event file of one run from its start step on."""
    return Events(run.workdir / "tensorboard", run.start_step)


class Events(Logger):
    """Written at once and flushed: no queue that a full disk could block.

    Opened by the first write: the package imports PyTorch where it is installed, and the first step need not wait.
    """

    def __init__(self, folder: Path, start_step: int) -> None:
        self._folder, self._start_step = folder, start_step
        self._writer: Any = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        writer = self._writer = self._writer or self._open()
        tagged = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        writer.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=tagged)))
        writer.flush()

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def _open(self) -> Any:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._folder.mkdir(parents=True, exist_ok=True)
        writer = EventsWriter(str(self._folder / "events"), f".{self._start_step}")
        if self._start_step:  # TensorBoard then hides what an interrupted run wrote after start_step
            start = SessionLog(status=SessionLog.START)
            writer.write_event(Event(wall_time=time.time(), step=self._start_step + 1, session_log=start))
        return writer
