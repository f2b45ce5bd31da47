#!/usr/bin/env bash
# A run under Slurm, one process a GPU; Slurm queues it again when its time is up or a node fails:
#
#     sbatch --nodes=2 launch/slurm.sh --config=configs/bert_base.py --workdir=/shared/runs/bert_base
#
# The work folder and the store must be on a file system that all nodes share.
#SBATCH --job-name=bert_jax
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-.}" || exit 1
srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" -m bert_jax.train "$@"
code=$?
# 0 done; 1 and 2 something to correct first; anything else goes on from the newest checkpoint.
case $code in
  0 | 1 | 2) exit "$code" ;;
  *) scontrol requeue "$SLURM_JOB_ID" ;;
esac
