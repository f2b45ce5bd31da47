#!/usr/bin/env bash
# A run on all GPUs of this machine, in one process; starts again after a failure, until it is done:
#
#     launch/gpus.sh --config=configs/bert_base.py --workdir=runs/bert_base [flags of bert_jax.train]
#
# CUDA_VISIBLE_DEVICES=0,1 takes some of them. SIGTERM saves and ends it.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/launch/again.sh"
cd "$here" || exit 1
# cuBLAS does all products: compiles sooner, and BERT-large's step takes 2% less.
export XLA_FLAGS="${XLA_FLAGS---xla_gpu_enable_triton_gemm=false}"
again "${PYTHON:-.venv/bin/python}" -m bert_jax.train "$@"
