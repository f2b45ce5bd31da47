"""Many processes, one run: how they find each other, stop together, and end when one of them is lost.

Each host runs the same command. On Cloud TPU, under Slurm's `srun` and Open MPI's `mpirun` that is all; elsewhere

    python -m bert_jax.train … --coordinator=HOST0:8476 --process_count=2 --process_index=0

names the first process's address and port, and each process's own number. A process that dies or hangs is noticed
by its missing heartbeat, and all others end with an error: the run goes on from its newest checkpoint when they are
started again, on this or any other number of hosts.
"""

import collections
import contextlib
import functools
import glob
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from configuration.variants import ConfigError

FLAGS = flags.FLAGS
HEARTBEAT_SECONDS = 30  # of silence until a process counts as lost
LOST = 75  # exit code of a process that lost another one: the same command may work when all are started again
LAG = 2  # steps between a process's wish to stop and the agreement, so that nobody waits for it
GOOGLE = "0x1ae0"  # PCI vendor of a TPU
# Process count and index as the launchers set them for each process that they start.
LAUNCHERS = {
    "Slurm": ("SLURM_NTASKS", "SLURM_PROCID"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
}


class Place(NamedTuple):
    """This process's place in the run: None for what JAX detects itself."""

    coordinator: str | None
    process_count: int | None
    process_index: int | None


def distributed_flags() -> None:
    """--coordinator, --process_count, --process_index"""
    flags.DEFINE_string(
        "coordinator", None, "HOST:PORT of process 0, if there are several and no launcher that JAX knows."
    )
    flags.DEFINE_integer("process_count", None, "How many processes the run has.", lower_bound=1)
    flags.DEFINE_integer("process_index", None, "The number of this process, from 0.", lower_bound=0)


@contextlib.contextmanager
def processes() -> Iterator[None]:
    """Joins the processes of the run, if there are several; an error in this one ends it at once.

    It does not wait for the others, as a normal exit would: they notice, and end too.
    """
    start()
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        if not is_foreseen(error):
            traceback.print_exc()
        print(f"error: {describe(error)}", file=sys.stderr, flush=True)
        os._exit(LOST if isinstance(error, jax.errors.JaxRuntimeError) else 1)


def start() -> None:
    """Joins the processes of the run, as flags or the launcher say. Call it before anything touches a device.

    Raises:
      ConfigError: the flags do not fit together.
    """
    place = find_place(FLAGS.coordinator, FLAGS.process_count, FLAGS.process_index, os.environ)
    if place is None:
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is the training loop's own
    try:
        jax.distributed.initialize(*place, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"the processes of the run did not find each other: {first_line(error)}; "
            "give each one --coordinator=HOST:PORT, --process_count and --process_index"
        ) from None


def find_place(
    coordinator: str | None, count: int | None, index: int | None, environment: Mapping[str, str]
) -> Place | None:
    """This process's place in the run; None for a run of one process.

    Raises:
      ConfigError: the flags do not fit together.
    """
    launcher = find_launcher(environment)
    if coordinator is None:
        for name, value in (("process_count", count), ("process_index", index)):
            if value is not None:
                raise ConfigError(f"--{name} is {value} without --coordinator: give the HOST:PORT of process 0 as well")
        return Place(None, None, None) if launcher or on_cloud_tpu(environment) else None
    if launcher:
        names = LAUNCHERS[launcher]
        count = int(environment[names[0]]) if count is None else count
        index = int(environment[names[1]]) if index is None else index
    if count is None or index is None:
        missing = "process_count" if count is None else "process_index"
        raise ConfigError(f"--coordinator is {coordinator!r} without --{missing}: give the three together")
    if not coordinator.rpartition(":")[2].isdigit() or ":" not in coordinator:
        raise ConfigError(f"--coordinator is {coordinator!r}; it must be HOST:PORT, such as 10.0.0.1:8476")
    if index >= count:
        raise ConfigError(f"--process_index is {index}, but --process_count is {count}: it must be below that")
    return Place(coordinator, count, index) if count > 1 else None


def find_launcher(environment: Mapping[str, str]) -> str | None:
    """The launcher that started this process as one of several."""
    for launcher, (count, index) in LAUNCHERS.items():
        # Slurm sets its variables in a batch script too; only `srun` starts a step.
        inside = launcher != "Slurm" or "SLURM_STEP_NODELIST" in environment
        if inside and index in environment and int(environment.get(count, "1")) > 1:
            return launcher
    return None


def on_cloud_tpu(environment: Mapping[str, str]) -> bool:
    """Whether this is a TPU machine that is to be used as one."""
    platforms = environment.get("JAX_PLATFORMS", "tpu").split(",")
    if "tpu" not in platforms or importlib.util.find_spec("libtpu") is None:
        return False
    return any(Path(path).read_text().strip() == GOOGLE for path in glob.glob("/sys/bus/pci/devices/*/vendor"))


def is_foreseen(error: Exception) -> bool:
    """Whether one line is enough."""
    ours = type(error).__module__.startswith(("bert_jax", "configuration", "data_pipeline"))
    return ours or isinstance(error, (OSError, jax.errors.JaxRuntimeError))


def describe(error: Exception) -> str:
    """What ends this process, in one line."""
    who = f"process {jax.process_index()} of {jax.process_count()}"
    if isinstance(error, jax.errors.JaxRuntimeError):
        return (
            f"{who} has lost another one, or its own device ({first_line(error)}); "
            "start all of them again and the run goes on from its newest checkpoint"
        )
    kind = "" if is_foreseen(error) else f"{type(error).__name__}: "
    return f"{who}: {kind}{' '.join(str(error).split())}"


def first_line(error: Exception) -> str:
    """The first line of an error's text, at most 200 characters of it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def check_same(facts: Mapping[str, str]) -> None:
    """Every process must call it. A name that one process lacks is a difference too.

    Args:
      facts: what must be equal in all processes, by name.

    Raises:
      ConfigError: a process has something else; replicas would diverge silently.
    """
    everywhere = [json.loads(text) for text in _of_all_processes(json.dumps(dict(facts)))]
    unlike = {}
    for name in sorted({name for each in everywhere for name in each}):
        values = [each.get(name) for each in everywhere]
        if others := [process for process, value in enumerate(values) if value != values[0]]:
            unlike[name] = others
    if unlike:
        said = ", ".join(f"{name} (processes {', '.join(map(str, who))})" for name, who in unlike.items())
        raise ConfigError(f"processes of one run must be alike, but differ from process 0 in {said}")


def _of_all_processes(text: str) -> list[str]:
    """The text that each process has, which may be of any length."""
    content = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array([content.size])).ravel()
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: content.size] = content
    rows = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def any_process(wish: bool) -> bool:
    """Whether any process says so; waits for all of them."""
    return wish if jax.process_count() == 1 else bool(_any(wish))


def _any(wish: bool) -> jax.Array:
    """bool []: any of the processes' wishes, soon."""
    split, reduce = _over_all_devices()
    return reduce(jax.make_array_from_process_local_data(split, np.full(jax.local_device_count(), wish)))


@functools.cache
def _over_all_devices() -> tuple[NamedSharding, Any]:
    mesh = jax.make_mesh((jax.device_count(),), ("all",), axis_types=(jax.sharding.AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("all")), jax.jit(
        jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec())
    )


def of_first_process(numbers: Sequence[float]) -> list[float]:
    """What process 0 has, in full precision; every process must call it with as many numbers."""
    bits = np.array(numbers, np.float64).view(np.uint32)  # JAX would round float64
    return array_of_first_process(bits).view(np.float64).tolist()


def array_of_first_process(array: np.ndarray) -> np.ndarray:
    """What process 0 has; every process must call it with one of the same shape and type, of 32 bits."""
    if jax.process_count() == 1:
        return array
    return np.asarray(multihost_utils.broadcast_one_to_all(array)).astype(array.dtype)


class Agreement:
    """Tells all processes at the same step that one of them wants to stop.

    The system tells only the process of a machine that is about to stop; if that process left the loop alone, the
    others would wait for ever. Every process calls this once a step.
    """

    def __init__(self) -> None:
        self._waiting: collections.deque[jax.Array] = collections.deque()

    def __call__(self, wish: bool) -> bool:
        """Whether any process wished it `LAG` steps ago, the same on all of them; `wish` itself if there is one."""
        if jax.process_count() == 1:
            return wish
        self._waiting.append(_any(wish))
        return len(self._waiting) > LAG and bool(self._waiting.popleft())
