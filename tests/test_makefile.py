"""What the Makefile says before it does anything."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make(*arguments: str) -> subprocess.CompletedProcess:
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_finetune_takes_the_encoder_of_the_work_folder_on_a_task() -> None:
    done = make("finetune", "WORKDIR=runs/mine", "TASK=configs/tasks/polarity.py")
    assert done.returncode == 0
    flags = "--config=configs/tasks/polarity.py --init_from=runs/mine --workdir=runs/polarity --seeds=5"
    assert f"bert_jax.finetune {flags}" in done.stdout


def test_finetune_without_an_encoder_is_one_clear_line(tmp_path) -> None:
    command = ["make", "finetune", f"WORKDIR={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path} holds no encoder yet: run make pretrain first\n")
    assert "pip" not in done.stdout
