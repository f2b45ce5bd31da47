"""The launchers, against stand-ins for gcloud, srun and the like that write down what they are asked."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import cloud_tpu

ROOT = Path(__file__).parents[2]
WHERE = ["--name=bert", "--zone=us-west4-a", "--workdir=gs://bucket/run"]
RUN = [*WHERE, "--type=v5litepod-16", "--store=gs://bucket/store", "--config=configs/demo.py", "--poll=0"]

GCLOUD = '''
import json, os, pathlib, sys

here = pathlib.Path(os.environ["STAND_IN"])
answers = json.loads((here / "answers.json").read_text())
arguments = sys.argv[1:]
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")

def next_of(name):
    """The next answer; the last one stays."""
    found = answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0]
    (here / "answers.json").write_text(json.dumps(answers))
    return found

text = " ".join(arguments)
if arguments[:2] == ["storage", "ls"]:
    sys.exit(0 if next_of("objects") == "yes" else 1)
if "describe" in arguments:
    found = next_of("queued" if "queued-resources" in arguments else "states")
    if found.startswith("ERROR"):
        sys.exit(found)
    print(found)
elif "--command=if [ -f run.exit ]" in text:
    print(next_of("workers"))
elif "run.log 2>/dev/null" in text:
    log = (here / "log").read_text()
    sys.stdout.write(log[int(text.split("tail -c +")[1].split()[0]) - 1 :])
'''
ABSENT = "ERROR: NOT_FOUND: no such resource"


class StandIn:
    """A gcloud on the path that answers from lists and writes down its calls."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.answers: dict[str, list[str]] = {
            "states": [ABSENT, "CREATING", "READY"],
            "queued": [ABSENT],
            "workers": ["alive\nalive", "0\n0"],
            "objects": [""],
        }
        (folder / "log").write_text("step 1\nstep 2\n")
        put(folder / "bin" / "gcloud", f"#!{sys.executable}\n{GCLOUD}")

    def run(self, command: str, *flags: str) -> int:
        """The launcher's exit code; empty strings among the answers stand for a failing call."""
        (self.folder / "answers.json").write_text(json.dumps(self.answers))
        return cloud_tpu.main([command, *flags])

    @property
    def calls(self) -> list[str]:
        """What it was asked to change, without the zone."""
        path = self.folder / "calls"
        calls = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        texts = [" ".join(c).removeprefix("compute tpus ").replace(" --zone=us-west4-a", "") for c in calls]
        asks = ("describe", "storage ls", "if [ -f run.exit ]", "run.log 2>/dev/null")
        return [text for text in texts if not any(ask in text for ask in asks)]

    @property
    def verbs(self) -> list[str]:
        """The calls in short."""
        return [name for call in self.calls for name, pattern in VERBS.items() if re.search(pattern, call)]


VERBS = {
    "create": r"^tpu-vm create",
    "queue": r"^queued-resources create",
    "delete": r"^tpu-vm delete",
    "unqueue": r"^queued-resources delete",
    "copy": r"^tpu-vm scp",
    "install": r"uv pip install",
    "begin": r"nohup setsid",
    "terminate": r"kill -TERM",
    "sign": r"^storage cp",
    "unsign": r"^storage rm",
}


def put(path: Path, text: str) -> None:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A repository with a committed configuration, from which the launcher starts."""
    root = tmp_path / "checkout"
    for name in ("demo.py", "mine.py"):
        put(root / "configs" / name, "config = 1\n")
    put(root / ".gitignore", "ignored.py\n")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(cloud_tpu, "ROOT", root.resolve())
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def gcloud(tmp_path, monkeypatch, checkout) -> StandIn:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    return StandIn(tmp_path)


def test_start_from_nothing_to_the_end_of_the_run(gcloud, capfd) -> None:
    assert gcloud.run("start", *RUN, "--spot", "--", "--config.seed=3") == 0
    assert gcloud.verbs == ["delete", "create", "copy", "install", "begin"]
    create, scp, install, begin = gcloud.calls[1:]
    assert create == "tpu-vm create bert --accelerator-type=v5litepod-16 --version=v2-alpha-tpuv5-lite --spot"
    assert re.fullmatch(r"tpu-vm scp \S+/bert_jax.tar.gz bert: --worker=all", scp)
    assert "--worker=all" in install
    assert "--editable '.[tpu]'" in install
    assert (
        "bash bert_jax/launch/worker.sh gs://bucket/run gs://bucket/store configs/demo.py --config.seed=3 > run.log"
        in begin
    )
    assert capfd.readouterr().out == "step 1\nstep 2\n"  # once, though it looked twice


def test_a_tpu_of_that_name_is_taken(gcloud) -> None:
    gcloud.answers["states"] = ["READY"]
    assert gcloud.run("start", *RUN) == 0
    assert gcloud.verbs == ["copy", "install", "begin"]


@pytest.mark.parametrize("state", ["PREEMPTED", ABSENT, "STOPPED"])
def test_a_preempted_run_goes_on(gcloud, capfd, state) -> None:
    gcloud.answers["states"] = ["READY", "READY", "READY", state, state, "CREATING", "READY"]
    gcloud.answers["workers"] = ["alive\nalive", "alive\nalive", "0\n0"]
    assert gcloud.run("start", *RUN) == 0
    assert gcloud.verbs == ["copy", "install", "begin", "delete", "create", "copy", "install", "begin"]
    assert "it goes on from its newest checkpoint" in capfd.readouterr().err


@pytest.mark.parametrize("left", ["130\n130", "dead\ndead", "75\ndead"])
def test_after_maintenance_the_run_begins_again_on_the_same_tpu(gcloud, left) -> None:
    gcloud.answers |= {"states": ["READY"], "workers": ["alive\nalive", left, "alive\nalive", "0\n0"]}
    assert gcloud.run("follow", *RUN) == 0
    assert gcloud.verbs == ["begin"]


def test_what_must_be_corrected_first_is_not_tried_again(gcloud) -> None:
    gcloud.answers |= {"states": ["READY"], "workers": ["alive\nalive", "1\nalive"]}
    assert gcloud.run("follow", *RUN) == 1
    assert gcloud.verbs == []


@pytest.mark.parametrize("state", ["READY", ABSENT])
def test_a_stopped_run_stays_stopped(gcloud, state) -> None:
    gcloud.answers |= {"states": [state], "workers": ["130\n130"], "objects": ["yes"]}
    assert gcloud.run("follow", *RUN) == 130
    assert gcloud.verbs == []


def test_stop(gcloud) -> None:
    gcloud.answers["states"] = ["READY"]
    assert gcloud.run("stop", *WHERE) == 0
    assert gcloud.verbs == ["sign", "terminate", "delete"]
    assert gcloud.calls[0] == "storage cp - gs://bucket/run/stopped"


def test_stop_keeps_the_tpu(gcloud) -> None:
    gcloud.answers["states"] = ["READY"]
    assert gcloud.run("stop", *WHERE, "--keep") == 0
    assert gcloud.verbs == ["sign", "terminate"]


def test_started_again_after_a_stop(gcloud) -> None:
    gcloud.answers |= {"states": ["READY"], "objects": ["yes"]}
    assert gcloud.run("start", *RUN) == 0
    assert gcloud.verbs == ["copy", "install", "unsign", "begin"]


def test_a_queued_resource(gcloud) -> None:
    gcloud.answers |= {
        "states": [ABSENT, ABSENT, ABSENT, "READY"],
        "queued": [ABSENT, "WAITING_FOR_RESOURCES", "PROVISIONING"],
    }
    assert gcloud.run("start", *RUN, "--queued", "--reserved", "--project=mine") == 0
    assert gcloud.verbs == ["unqueue", "queue", "copy", "install", "begin"]
    assert gcloud.calls[1] == (
        "queued-resources create bert --node-id=bert --accelerator-type=v5litepod-16"
        " --runtime-version=v2-alpha-tpuv5-lite --reserved --project=mine"
    )


def test_a_queued_resource_that_fails(gcloud, capfd) -> None:
    gcloud.answers |= {"states": [ABSENT], "queued": [ABSENT, "FAILED"]}
    assert gcloud.run("start", *RUN, "--queued") == 1
    assert "error: the queued resource bert is FAILED; stop it and start again" in capfd.readouterr().err


def test_a_dry_run_prints_each_command_and_runs_none(tmp_path, checkout, monkeypatch, capfd) -> None:
    only_git(tmp_path, monkeypatch)
    assert cloud_tpu.main(["start", *RUN, "--dry_run"]) == 0
    lines = capfd.readouterr().out.splitlines()
    commands = ["tpu-vm describe", "# if it is not there, or is PREEMPTED, TERMINATED, ", "queued-resources describe"]
    commands += ["# if that is there", "queued-resources delete", "# otherwise", "tpu-vm delete", "tpu-vm create"]
    commands += ["archive", "tpu-vm scp", "tpu-vm ssh", "# if gs://bucket/run/stopped is there", "storage rm"]
    commands += ["tpu-vm ssh"]
    assert len(lines) == len(commands)
    assert all(command in printed for command, printed in zip(commands, lines, strict=True)), lines
    assert cloud_tpu.main(["stop", *WHERE, "--dry_run"]) == 0
    lines = capfd.readouterr().out.splitlines()
    commands = ["storage cp", "tpu-vm describe", "# if it is READY", "tpu-vm ssh", "queued-resources describe"]
    commands += ["# if that is there", "queued-resources delete", "# otherwise", "tpu-vm delete"]
    assert all(command in printed for command, printed in zip(commands, lines, strict=True)), lines
    assert cloud_tpu.main(["stop", *WHERE, "--dry_run", "--keep"]) == 0
    assert "delete" not in capfd.readouterr().out


def only_git(folder: Path, monkeypatch) -> None:
    """A path on which there is no gcloud."""
    git = shutil.which("git")
    assert git
    (folder / "git").symlink_to(git)
    monkeypatch.setenv("PATH", str(folder))


def test_the_configuration_is_named_as_the_workers_find_it(gcloud, checkout, monkeypatch, capfd) -> None:
    monkeypatch.chdir(checkout / "configs")
    gcloud.answers["states"] = ["READY"]
    assert gcloud.run("start", *RUN, "--config=mine.py") == 0
    assert "worker.sh gs://bucket/run gs://bucket/store configs/mine.py >" in gcloud.calls[-1]
    put(checkout / "notes.txt", "not committed")
    assert gcloud.run("start", *RUN, "--config=mine.py") == 0
    assert "not committed, so the TPU does not get it: notes.txt\n" in capfd.readouterr().err


@pytest.mark.parametrize("dry", [[], ["--dry_run"]], ids=["", "dry"])
@pytest.mark.parametrize("command", ["start", "follow"])
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.py", "config = 2\n", "--config=mine.py differs from the last commit"),
        ("other.py", "config = 2\n", "--config=other.py is not in the last commit"),
        ("ignored.py", "config = 2\n", "--config=ignored.py is not in the last commit"),
        ("none.py", None, "--config=none.py is no file of the checkout"),
        ("../../outside.py", "config = 2\n", "--config=../../outside.py is no file of the checkout"),
    ],
)
def test_a_configuration_that_is_not_committed_is_refused_first(
    gcloud, checkout, monkeypatch, capfd, command, dry, name, text, message
) -> None:
    monkeypatch.chdir(checkout / "configs")
    if text is not None:
        put(checkout / "configs" / name, text)
    assert gcloud.run(command, *RUN, f"--config={name}", *dry) == 1
    said = capfd.readouterr()
    assert said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert gcloud.calls == []


def test_no_gcloud_is_one_line(tmp_path, checkout, monkeypatch, capfd) -> None:
    only_git(tmp_path, monkeypatch)
    assert cloud_tpu.main(["start", *RUN]) == 1
    assert capfd.readouterr().err == "error: gcloud is not installed: https://cloud.google.com/sdk/docs/install\n"


def test_an_error_of_gcloud_is_not_taken_for_absence(gcloud, capfd) -> None:
    gcloud.answers["states"] = ["ERROR: PERMISSION_DENIED: enable the TPU API"]
    assert gcloud.run("start", *RUN) == 1
    assert "PERMISSION_DENIED: enable the TPU API" in capfd.readouterr().err
    assert gcloud.verbs == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["start", *WHERE], "start needs --type"),
        (["start", *RUN, "--store=/local"], "--store=/local must be gs://bucket/folder"),
        (["stop", *WHERE[:2]], "stop needs --workdir"),
        (["start", *RUN, "--type=v99-8"], "--type=v99-8 is not known"),
        (["start", *RUN, "--spot", "--reserved"], "--spot and --reserved exclude each other"),
    ],
)
def test_flags_that_do_not_fit(flags, message, capfd, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cloud_tpu.main(flags)
    assert ended.value.code == 2
    assert message in capfd.readouterr().err


class Scripts:
    """Stand-ins for what the shell scripts call."""

    def __init__(self, folder: Path, codes: list[int]):
        self.folder = folder
        (folder / "codes").write_text("".join(f"{code}\n" for code in codes))
        record = 'echo "$(basename "$0") $*" >> "$STAND_IN/calls"\n'
        for name in ("gcloud", "scontrol"):
            put(folder / "bin" / name, f"#!/bin/bash\n{record}")
        # python: ends with the next code; the code 0 after SIGTERM would be a run that ignored it
        take = 'code=$(head -1 "$STAND_IN/codes"); sed -i 1d "$STAND_IN/codes"\n'
        wait = '[ "$code" = wait ] || exit "$code"; trap "exit 130" TERM; while :; do sleep 0.05; done\n'
        put(folder / "bin" / "python", f"#!/bin/bash\n{record}{take}{wait}")
        put(folder / "bin" / "srun", f"#!/bin/bash\n{record}{take}exit $code\n")
        put(folder / "bin" / "curl", '#!/bin/bash\ncat "$STAND_IN/metadata/$(basename "${@: -1}")" 2>/dev/null\n')
        (folder / "metadata").mkdir()
        (folder / "metadata" / "agent-worker-number").write_text("0")
        self.environment = os.environ | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "STAND_IN": str(folder),
            "PYTHON": "python",
            "PAUSE": "0",
            "POLL": "0.1",
            "RUN_HOME": str(folder / "home"),
            "SLURM_JOB_ID": "7",
        }

    def start(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        command = ["bash", str(ROOT / "launch" / script), *arguments]
        return subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)

    def run(self, script: str, *arguments: str) -> tuple[int, list[str]]:
        process = self.start(script, *arguments)
        process.communicate(timeout=60)
        return process.returncode, self.calls

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("codes", "code", "tries"),
    [([0], 0, 1), ([75, 134, 130, 0], 0, 4), ([1], 1, 1), ([137, 2], 2, 2)],
)
def test_one_machine_of_gpus_goes_on_until_it_is_done(tmp_path, codes, code, tries) -> None:
    ended, calls = Scripts(tmp_path, codes).run("gpus.sh", "--config=c.py", "--workdir=w")
    assert ended == code
    assert calls == ["python -m bert_jax.train --config=c.py --workdir=w"] * tries


def test_sigterm_is_handed_on_and_ends_the_loop(tmp_path) -> None:
    scripts = Scripts(tmp_path, [])
    (tmp_path / "codes").write_text("wait\n")
    process = scripts.start("gpus.sh")
    while not scripts.calls:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert len(scripts.calls) == 1


def test_a_worker_copies_trains_and_tells_how_it_ended(tmp_path) -> None:
    code, calls = Scripts(tmp_path, [75, 0]).run("worker.sh", "gs://b/run", "gs://b/store", "configs/demo.py", "--x=1")
    home = tmp_path / "home"
    train = (
        f"python -m bert_jax.train --config=configs/demo.py --workdir={home}/run --config.data.store={home}/store"
        " --config.checkpoints.folder=gs://b/run/checkpoints --x=1"
    )
    assert code == 0
    assert calls == [
        f"gcloud storage rsync --recursive gs://b/store {home}/store",
        "gcloud storage ls gs://b/run",
        f"gcloud storage rsync --recursive --exclude=^checkpoints/ gs://b/run {home}/run",
        train,
        train,
        f"gcloud storage rsync --recursive --exclude=^checkpoints/ {home}/run gs://b/run",
    ]
    assert (home / "run.exit").read_text() == "0\n"


def test_only_the_first_worker_copies_its_folder_up(tmp_path) -> None:
    scripts = Scripts(tmp_path, [0])
    (tmp_path / "metadata" / "agent-worker-number").write_text("3")
    _, calls = scripts.run("worker.sh", "gs://b/run", "gs://b/store", "configs/demo.py")
    assert not any(call.endswith(" gs://b/run") and "rsync" in call for call in calls)


@pytest.mark.parametrize(
    ("fact", "value"), [("preempted", "TRUE"), ("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")]
)
def test_a_worker_saves_when_its_machine_is_about_to_go(tmp_path, fact, value) -> None:
    scripts = Scripts(tmp_path, [])
    (tmp_path / "codes").write_text("wait\n")
    (tmp_path / "metadata" / "preempted").write_text("FALSE")
    process = scripts.start("worker.sh", "gs://b/run", "gs://b/store", "configs/demo.py")
    while not any(call.startswith("python") for call in scripts.calls):
        time.sleep(0.02)
    time.sleep(0.3)
    assert process.poll() is None
    (tmp_path / "metadata" / fact).write_text(value)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert (tmp_path / "home" / "run.exit").read_text() == "130\n"


@pytest.mark.parametrize(
    ("code", "requeued"), [(0, False), (1, False), (2, False), (75, True), (130, True), (137, True)]
)
def test_slurm_queues_again_what_can_go_on(tmp_path, code, requeued) -> None:
    _, calls = Scripts(tmp_path, [code]).run("slurm.sh", "--config=c.py")
    assert calls[0] == "srun --kill-on-bad-exit=1 python -m bert_jax.train --config=c.py"
    assert calls[1:] == (["scontrol requeue 7"] if requeued else [])
