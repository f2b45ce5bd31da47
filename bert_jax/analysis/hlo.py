"""Reads a compiled program's text: its collectives, and what the compiler estimates each operation to take.

A loop's body counts as often as it runs. Formats: the HLO text of `compiled.as_text()`; the estimates are those that
the TPU compiler writes beside each operation.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f8e4m3fn": 1, "f8e5m2": 1, "token": 0, "opaque": 0}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.+)$")
_OPERATION = re.compile(r"(?<=[\s)}\]])([a-z][\w-]*)\(")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_CALLED = re.compile(r"\b(?:calls|body|to_apply|branch_computations|called_computations)=\{?((?:%?[\w.-]+(?:, )?)+)\}?")
_CONDITION = re.compile(r"\bcondition=%?([\w.-]+)")
_CONSTANT = re.compile(r"^[su]32\[\]\S* constant\((\d+)\)")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_COST = re.compile(r'"cost_estimate":\{"flops":"(\d+)"[^}]*"bytes_accessed":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between chips, with how often a step does it."""

    kind: str  # one of COLLECTIVES
    bytes: int  # of the whole array: what all-gather ends with, what reduce-scatter starts from
    group: int  # chips that take part in one exchange
    times: int  # in a step

    @property
    def wire_bytes(self) -> float:
        """The least that each chip must send in a step, on a ring (Patarasuk and Yuan 2009)."""
        rounds = {"all-reduce": 2.0, "collective-permute": self.group / max(1, self.group - 1)}.get(self.kind, 1.0)
        return self.times * self.bytes * rounds * (self.group - 1) / self.group


class KernelCall(NamedTuple):
    """A call of a Pallas kernel, by the estimate that comes with it."""

    flops: int
    bytes: int  # that it reads and writes
    times: int  # in a step


@dataclasses.dataclass(frozen=True)
class Instruction:
    name: str
    type: str
    operation: str
    text: str


class Program:
    """A compiled program on `chips` chips, from its text."""

    def __init__(self, text: str, chips: int):
        self.chips = chips
        self.entry, self.computations = parse(text)

    @functools.cached_property
    def collectives(self) -> list[Collective]:
        """Every exchange between chips, those inside fusions and loops too."""
        found = []
        for computation, instruction, times in self.walk(self.entry, 1, fusions=True):
            kind = instruction.operation.removesuffix("-start")
            if kind not in COLLECTIVES:
                continue
            group = group_size(instruction.text, self.chips)
            if group > 1:
                # The TPU compiler writes a reduce-scatter as a fusion of all-reduce and slice.
                scattered = kind == "all-reduce" and "all-reduce-scatter" in computation
                size = whole_bytes(instruction, kind, group)
                found.append(Collective("reduce-scatter" if scattered else kind, size, group, times))
        return found

    @functools.cached_property
    def cycles(self) -> int:
        """The compiler's estimates of all operations of a step, one after the other; 0 where it gives none.

        It gives none for kernels.
        """
        return sum(int(match[1]) * times for match, times in self._matches(_CYCLES))

    @functools.cached_property
    def kernel_calls(self) -> list[KernelCall]:
        """The calls of kernels that come with an estimate."""
        return [KernelCall(int(match[1]), int(match[2]), times) for match, times in self._matches(_COST)]

    def _matches(self, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], int]]:
        """What the pattern finds in the instructions outside of fusions, with how often each runs."""
        for _, instruction, times in self.walk(self.entry, 1, fusions=False):
            if match := pattern.search(instruction.text):
                yield match, times

    def walk(self, computation: str, times: int, fusions: bool) -> Iterator[tuple[str, Instruction, int]]:
        """(computation, instruction, how often it runs) of a computation and all that it calls."""
        for instruction in self.computations[computation]:
            yield computation, instruction, times
            if instruction.operation == "fusion" and not fusions:
                continue
            trips = self.trips(instruction) if instruction.operation == "while" else 1
            for called in called_by(instruction):
                if called in self.computations:
                    yield from self.walk(called, times * trips, fusions)

    def trips(self, loop: Instruction) -> int:
        """How often a loop's body runs: a scan's condition compares its counter, from 0, with one constant."""
        condition = _CONDITION.search(loop.text)
        inside = self.computations[condition[1]] if condition else []
        counts = [int(found[1]) for found in (_CONSTANT.match(i.text) for i in inside) if found]
        return counts[0] if len(counts) == 1 else 1


def parse(text: str) -> tuple[str, dict[str, list[Instruction]]]:
    """The name of the entry computation, and each computation's instructions."""
    entry, current = "", ""
    computations: dict[str, list[Instruction]] = {}
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = header[2]
            computations[current] = []
            entry = current if header[1] else entry
        elif current and (found := _INSTRUCTION.match(line)):
            operation = _OPERATION.search(found[2])
            if operation:
                of_type = found[2][: operation.start()]
                computations[current].append(Instruction(found[1], of_type, operation[1], found[2]))
    return entry, computations


def called_by(instruction: Instruction) -> list[str]:
    """Names of the computations that an instruction runs; not what an all-reduce adds with."""
    if instruction.operation.removesuffix("-start") in ("all-reduce", "reduce-scatter", "reduce", "scatter", "sort"):
        return []
    return [name.strip().lstrip("%") for names in _CALLED.findall(instruction.text) for name in names.split(",")]


def array_bytes(of_type: str) -> list[int]:
    """Bytes of each array in a type such as `(f32[24,1024]{1,0}, bf16[8])`."""
    sizes = []
    for dtype, shape in _ARRAY.findall(of_type):
        width = BYTES.get(dtype) or int(re.sub(r"\D", "", dtype) or 0) / 8
        sizes.append(int(width * math.prod(int(n) for n in shape.split(",") if n)))
    return sizes


def whole_bytes(instruction: Instruction, kind: str, group: int) -> int:
    """Size of the whole array of a collective, from the type of its result."""
    sizes = [size for size in array_bytes(instruction.type) if size > 8] or array_bytes(instruction.type)
    total = sum(sizes)
    if kind == "reduce-scatter":
        return total * group
    if instruction.operation.endswith("-start") and kind != "all-reduce":  # operand and result stand side by side
        return total * group // (group + 1) if kind == "all-gather" else total // 2
    return total


def group_size(text: str, chips: int) -> int:
    """How many chips exchange with each other: replica_groups as a list, as [groups,size], or by mesh axes."""
    if "source_target_pairs=" in text:
        return chips
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\]", text):
        return int(match[2])
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return match[1].count(",") + 1
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", match[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", match[2]))
    return chips
