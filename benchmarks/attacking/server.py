"""A process that has imported what commands need and forks one for each request, so that cases start at once.

    python -m benchmarks.attacking.server

Reads a request as a line of JSON (see `processes.Servers`) and answers with one: exit code, seconds, the most memory,
and whether it had to be ended. JAX starts no backend before the fork.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from typing import Any

from benchmarks.attacking.processes import left
from configuration import early

IMPORTED = (
    *("bert_jax.suite", "bert_jax.pretrain", "bert_jax.embed", "bert_jax.predict", "bert_jax.fill_mask"),
    *(
        "bert_jax.convert",
        "data_pipeline.prepare",
        "data_pipeline.preparing.workers",
        "tensorboardX",
        "sklearn",
        "tokenizers",
    ),
    *("pyarrow.parquet", "matplotlib.figure", "sentencepiece", "bert_jax.analysis.inspection"),
)


def main() -> None:
    """Answers requests until the input ends; returns in each forked process too, which ends as a command does."""
    for name in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    early.end_at_once_by_ctrl_c()  # as a command's package does it when it is imported
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pipes = [os.pipe(), os.pipe()]  # not files, whose sizes may be limited
        child = os.fork()
        if not child:
            return command(request, [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        files = zip([read for read, _ in pipes], [request["out"], request["error"]], strict=True)
        copies = [threading.Thread(target=copy, args=each) for each in files]
        for thread in copies:
            thread.start()
        outcome = watched(child, request)
        for thread in copies:
            thread.join()
        print(json.dumps(outcome), flush=True)
    return None


def copy(descriptor: int, path: str) -> None:
    """Writes what comes from a pipe into a file."""
    with open(descriptor, "rb") as pipe, open(path, "wb") as file:
        shutil.copyfileobj(pipe, file)


def command(request: dict[str, Any], outputs: list[int]) -> None:
    """Becomes the command that is asked for."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    for number, descriptor in enumerate([os.open(os.devnull, os.O_RDONLY), *outputs]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if request["largest_file"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    module, *flags = request["command"]
    sys.modules.pop(module, None)
    sys.argv = [module, *flags]
    sys.path.insert(0, "")
    if request["signal"]:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    end(code)


def end(code: int) -> None:
    """Ends as Python does, but for taking all modules apart, which takes longer than most cases."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def watched(child: int, request: dict[str, Any]) -> dict[str, Any]:
    """Waits for the end of a process, and sends it the signal that the request asks for."""
    started, sent, ended = time.monotonic(), False, False
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        seconds = time.monotonic() - started
        if pid:
            break
        if request["signal"] and not sent and seconds > request["after"]:
            sent = True
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if request["group"] else os.kill)(child, request["signal"])
        if seconds > request["seconds"]:
            ended = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.005)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "memory": usage.ru_maxrss << 10,
        "ended": ended,
        "sent": sent,
        "left": left(child),
    }


if __name__ == "__main__":
    main()
