"""Whether freed memory stays with the process, and comes in huge pages, where that is wanted and only there."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from bert_jax.runtime import heap

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is nothing to be kept without glibc")


def read(file: Path, otherwise: str = "") -> str:
    return file.read_text().strip() if file.exists() else otherwise


FAULTS = """
import resource, sys
import numpy as np
from bert_jax.runtime import heap
print(heap.tune())
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**25).sum()  # 256 MiB
began = faults()
for _ in range(4):
    np.ones(2**25).sum()
print((faults() - began) / 4)
"""
HUGE = """
import re
import numpy as np
from pathlib import Path
from bert_jax.runtime import heap
heap.tune()
array = np.ones(2**25)
print(re.search(r"AnonHugePages: +([0-9]+)", Path("/proc/self/smaps_rollup").read_text())[1])
"""
GIVEN_BACK = """
import ctypes, threading, time
import numpy as np
from bert_jax.runtime import heap
heap.tune()
np.ones(2**26).sum()
kept = heap.held()
arguments = ctypes.CDLL(None), 2 * {machine}, 0.01
threading.Thread(target=heap.give_back_when_large, args=arguments, daemon=True).start()
time.sleep(1)
print(kept, heap.held())
"""


def run(code: str, **environment: str) -> list[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC_", "MALLOC_"))}
    command = [sys.executable, "-c", code]
    given = plain | {"JAX_PLATFORMS": "cpu", "NUMPY_MADVISE_HUGEPAGE": "0"} | environment
    return subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout.split()


@glibc
def test_pages_of_large_arrays_are_used_again() -> None:
    kept, faults = run(FAULTS)
    assert kept == "True"
    assert float(faults) < 1000, "of some 65,536 pages"


@glibc
@pytest.mark.skipif("[never]" in read(THP, "[never]"), reason="there are no huge pages")
@pytest.mark.skipif(read(heap.OVERCOMMIT) == heap.NO_OVERCOMMIT, reason="addresses count as memory here")
def test_large_arrays_are_in_huge_pages() -> None:
    assert int(run(HUGE)[0]) > 50_000, "kB of some 262,144; none without asking, fewer where memory is in pieces"


@glibc
@pytest.mark.parametrize(("name", "value"), [("GLIBC_TUNABLES", "glibc.malloc.check=0"), ("MALLOC_ARENA_MAX", "2")])
def test_settings_of_the_user_are_left_alone(name: str, value: str) -> None:
    kept, faults = run(FAULTS, **{name: value})
    assert kept == "False"
    assert float(faults) > 60_000


@glibc
@pytest.mark.parametrize(("machine", "given_back"), [(2**28, True), (2**40, False)])
def test_a_large_process_gives_back_what_is_free(machine: int, given_back: bool) -> None:
    before, after = map(int, run(GIVEN_BACK.format(machine=machine)))
    assert before > 2**29
    assert (after < before - 2**28) == given_back


@pytest.mark.parametrize(
    ("platforms", "expected"), [("cpu", True), ("cpu,tpu", True), ("tpu,cpu", False), ("cuda", False)]
)
def test_the_platforms_that_jax_is_told_count(monkeypatch, platforms: str, expected: bool) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert heap.on_cpu() == expected
    if not expected:
        assert not heap.tune()


@pytest.mark.parametrize("found", [True, False])
def test_an_accelerator_is_seen_by_its_device_file(monkeypatch, tmp_path, found: bool) -> None:
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(heap, "ACCELERATORS", (f"{tmp_path}/nvidia[0-9]*",))
    (tmp_path / ("nvidia0" if found else "nvidiactl")).touch()
    assert heap.on_cpu() != found


@pytest.mark.parametrize(("limit", "expected"), [("1000\n", 1000), ("max\n", None), (None, None)])
def test_a_container_may_have_less_than_the_machine(tmp_path, limit: str | None, expected: int | None) -> None:
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert heap.machine_memory(str(file)) == (expected or machine)
