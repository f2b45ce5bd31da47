"""Four devices on the CPU (or $DEVICES), so that sharding is tested for real, and code that compiles fast."""

import contextlib
import os
import signal
import sys

DEVICES = os.environ.get("DEVICES", "4")
FLAGS = f"--xla_force_host_platform_device_count={DEVICES} --xla_backend_optimization_level=0"
FLAGS += " --xla_cpu_parallel_codegen_split_count=1"  # two test processes keep two cores busy already
if sys.version_info < (3, 12):  # JAX 0.10: its older emitters compile in a quarter of the time; JAX 0.12 has none
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["EPATH_USE_TF"] = "false"  # fsspec's memory stands for a bucket
os.environ.setdefault("BERT_JAX_COMPILATION_CACHE", "off")  # tests leave nothing behind

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored, in children too

with contextlib.suppress(ImportError):
    import triton  # noqa: F401  of a PyTorch for GPUs, whose first import after TensorFlow's ends the process
