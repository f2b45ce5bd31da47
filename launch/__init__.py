"""Starting runs on Cloud TPU (cloud_tpu.py), under Slurm (slurm.sh) and on one machine of GPUs (gpus.sh)."""

from configuration import early

early.begin()
