"""How the C library allocates on a CPU: in huge pages, and a process keeps what it frees, unless it has become large.

XLA's CPU client frees all of a step's arrays after each step. The C library gives large ones back to the system at
once, which then clears every page of them again in the next step: a fifth of a step's time, and more where rows are
long. The first touch of a page costs time too: with pages of 2 MB instead of 4 kB, which Linux gives on request,
BERT-large's first step ends after 6 seconds instead of 9.
"""

import ctypes
import glob
import os
import platform
import threading
from pathlib import Path

# Parameters of glibc's mallopt, from malloc.h, and what they are set to.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
SETTINGS = {
    MMAP_MAX: 0,  # large arrays come from the heap too,
    TRIM_THRESHOLD: -1,  # whose end is never given back by itself,
    ARENA_MAX: 1,  # and all threads have the same one.
}
LARGE = 0.5  # of the machine's memory, from where on what is free is given back
HUGE_PAGES = 14  # MADV_HUGEPAGE of Linux
OVERCOMMIT, NO_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory"), "2"  # then addresses count as memory
SECONDS = 1.0  # between two looks at it
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")


def tune() -> bool:
    """Sets the allocator of this process; call it before JAX starts its threads.

    Does nothing where the arrays are on an accelerator, where the C library is not glibc, or where the user has told
    it how to allocate.

    Returns:
      whether it was set.
    """
    if not on_cpu() or told() or platform.libc_ver()[0] != "glibc":
        return False
    library, machine = ctypes.CDLL(None), machine_memory()
    for parameter, value in SETTINGS.items():
        library.mallopt(parameter, value)
    extend(library, machine)
    threading.Thread(target=give_back_when_large, args=(library, machine), daemon=True).start()
    return True


def extend(library: ctypes.CDLL, machine: int) -> None:
    """Extends the heap's range of addresses by LARGE of the machine's bytes, and asks for huge pages there.

    Memory is allocated only when it is touched. Does nothing where Linux does not allow more addresses than memory.
    """
    if not OVERCOMMIT.exists() or OVERCOMMIT.read_text().strip() == NO_OVERCOMMIT:
        return
    library.malloc.restype = ctypes.c_void_p
    size, page = int(LARGE * machine), os.sysconf("SC_PAGE_SIZE")
    if (start := library.malloc(ctypes.c_size_t(size))) is None:
        return
    aligned = -(-start // page) * page
    library.madvise(ctypes.c_void_p(aligned), ctypes.c_size_t((size - page) // page * page), HUGE_PAGES)
    library.free(ctypes.c_void_p(start))  # the addresses stay with the heap


def on_cpu() -> bool:
    """Whether JAX will compute on the CPU, without asking JAX, which would start it."""
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms:
        return platforms.split(",")[0] == "cpu"
    return not any(glob.glob(pattern) for pattern in ACCELERATORS)


def told() -> bool:
    """Whether the environment has settings of the C library's allocator."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc" in tunables or any(name.startswith("MALLOC_") for name in os.environ)


def give_back_when_large(library: ctypes.CDLL, machine: int, seconds: float = SECONDS) -> None:
    """Gives back what is free whenever this process holds too much of the machine's bytes; never returns."""
    never = threading.Event()
    while not never.wait(seconds):
        if held() > LARGE * machine:
            library.malloc_trim(0)
            extend(library, machine)


def held() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def machine_memory(limits: str = "/sys/fs/cgroup/memory.max") -> int:
    """Bytes that this process may have: the machine's, or fewer in a container."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(machine, int(Path(limits).read_text()))
    except (OSError, ValueError):  # there is no container, or none with a limit
        return machine
