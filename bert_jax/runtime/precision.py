"""The dtype of matrix products for `model.dtype="auto"`."""

import dataclasses
import re
from pathlib import Path
from typing import cast

import jax

from bert_jax.config import Config, Dtype
from configuration import foreign

CPU_FLAGS = re.compile(r"^flags\s*:.*\b(avx512_bf16|amx_bf16)\b", re.MULTILINE)  # x86; XLA uses those of no other


def settled(config: Config, workdir: Path | None = None, platform: str = "") -> Config:
    """The configuration with "auto" replaced: by the dtype of the run in the work folder, or the fastest here.

    Args:
      platform: cpu, gpu or tpu; if not given, that of this process's devices.
    """
    if config.model.dtype != "auto":
        return config
    dtype = (begun_with(workdir) if workdir else None) or fastest(platform)[0]
    return dataclasses.replace(config, model=dataclasses.replace(config.model, dtype=dtype))


def begun_with(workdir: Path) -> Dtype | None:
    """The dtype of the run in a work folder; None if there is none."""
    path = workdir / "config.json"
    if not path.exists():
        return None
    with foreign.understood(path):
        return cast(Dtype, foreign.read_json(path)["model"]["dtype"])


def fastest(platform: str = "", cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[Dtype, str]:
    """bfloat16 where there are instructions for its products, else float32; and why."""
    platform = platform or jax.default_backend()
    if platform == "cpu":
        text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
        found = CPU_FLAGS.search(text)
        if found is None:
            return "float32", "this processor has no instructions for products of bfloat16"
        return "bfloat16", f"this processor has instructions for them ({found.group(1)})"
    if platform == "gpu":
        generation = str(getattr(jax.devices()[0], "compute_capability", "9.0"))
        if float(generation) < 8:
            return "float32", f"this GPU, of compute capability {generation}, has no such products in bfloat16"
    return "bfloat16", f"{platform.upper()}s have units for them"


def explain(config: Config) -> str:
    """One line for the log: the dtype of matrix products, and why it is or is not the fastest."""
    dtype, (best, why) = config.model.dtype, fastest()
    if dtype == best:
        return f"matrix products in {dtype}: {why}"
    flag = "--config.dtype=auto" if config.labelled else "--config.model.dtype=auto"  # of finetune, or of pretrain
    faster = f"; {best} is faster: {why} ({flag})" if best == "bfloat16" else f", though {why}"
    return f"matrix products in {dtype}, as the configuration says{faster}"
