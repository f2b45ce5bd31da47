"""One command starts a run on Cloud TPU that survives preemption, another ends it.

    python -m launch.cloud_tpu start --name=bert --zone=us-west4-a --type=v5litepod-16 --spot \\
        --workdir=gs://bucket/runs/bert --store=gs://bucket/stores/wikipedia --config=configs/bert_base.py \\
        -- --config.model.dtype=bfloat16
    python -m launch.cloud_tpu follow --name=bert --zone=us-west4-a …      the same flags; follows the log again
    python -m launch.cloud_tpu stop --name=bert --zone=us-west4-a --workdir=gs://bucket/runs/bert

`start` makes the TPU VM, or takes the one of that name; copies this checkout's last commit, in which the configuration
must be, to every worker and installs its pinned packages; starts training there in the background; and follows its log.
When the TPU is preempted or under maintenance it is created again, and the run resumes from the newest checkpoint in
the work folder. `stop` lets the run save and end, and deletes the TPU. `--queued` asks for it as a queued resource.
`--dry_run` prints each command, and when it would run where that depends on the answers; it runs none.
What it drives is the `gcloud` command line, which must be installed and logged in; the exit code is that of the run.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from configuration import early
from launch.gcloud import Failed, Gcloud

# Software of the TPU VM by kind of chip (cloud.google.com/tpu/docs/runtimes).
RUNTIMES = {
    "v4": "tpu-ubuntu2204-base",
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
GONE = ("", "PREEMPTED", "TERMINATED", "STOPPED", "SUSPENDED", "SUSPENDING", "DELETING", "FAILED")
FINAL = ("1", "2")  # exit codes of bert_jax.train after which there is something to correct first
STOPPED = 130
ROOT = Path(__file__).resolve().parents[1]  # of the checkout
UV = "0.13.8"  # brings the Python that the packages are pinned for


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives the exit code."""
    flags = parse(arguments)
    early.raise_by_ctrl_c()
    try:
        if flags.command != "stop":
            flags.config = committed(flags.config)
        tpu = Tpu(flags)
        if flags.command == "stop":
            return tpu.stop()
        if flags.command == "start":
            tpu.make()
            tpu.install()
            tpu.begin()
        return 0 if flags.dry_run or flags.detach else tpu.follow()
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("no longer following; the run goes on. `follow` shows it again, `stop` ends it", file=sys.stderr)
        return 130


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.cloud_tpu",
        description=(__doc__ or "").split("\n")[0],
        epilog="What follows -- goes to bert_jax.train.",
    )
    parser.add_argument("command", choices=("start", "follow", "stop"))
    parser.add_argument("--name", required=True, help="of the TPU VM")
    parser.add_argument("--zone", required=True, help="such as us-west4-a")
    parser.add_argument("--project", help="Google Cloud project; gcloud's own if not given")
    parser.add_argument("--type", help="such as v5litepod-16, v4-32, v6e-256")
    parser.add_argument("--runtime", help="software version of the TPU VM; by the type if not given")
    parser.add_argument("--spot", action="store_true", help="cheaper, may be preempted")
    parser.add_argument("--reserved", action="store_true", help="from the project's reservation")
    parser.add_argument("--queued", action="store_true", help="as a queued resource, which waits for capacity")
    parser.add_argument("--workdir", help="work folder, gs://bucket/folder")
    parser.add_argument("--store", help="prepared store, gs://bucket/folder")
    parser.add_argument("--config", help="configuration file of this checkout")
    parser.add_argument("--detach", action="store_true", help="start, do not follow")
    parser.add_argument("--keep", action="store_true", help="stop: ends the run and keeps the TPU")
    parser.add_argument("--dry_run", action="store_true", help="print the commands and when they would run, run none")
    parser.add_argument("--poll", type=float, default=30, help="seconds between two looks at the run")
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = given.index("--") if "--" in given else len(given)
    flags = parser.parse_args(given[:end])
    flags.train_flags = given[end + 1 :]
    for name in ("workdir",) if flags.command == "stop" else ("type", "workdir", "store", "config"):
        value = getattr(flags, name)
        if not value:
            parser.error(f"{flags.command} needs --{name}")
        if name in ("workdir", "store") and not value.startswith("gs://"):
            parser.error(f"--{name}={value} must be gs://bucket/folder, which every worker can reach")
    if flags.command != "stop" and not flags.runtime and kind(flags.type) not in RUNTIMES:
        parser.error(f"--type={flags.type} is not known: give its --runtime too, or one of {', '.join(RUNTIMES)}")
    if flags.spot and flags.reserved:
        parser.error("--spot and --reserved exclude each other")
    return flags


def committed(config: str) -> str:
    """The configuration's path within the checkout, whose last commit is what the TPU gets.

    Raises:
      Failed: it is not in that commit as it is here. Nothing has been asked for by then.
    """
    path = Path(config).resolve()
    if not path.is_file() or not path.is_relative_to(ROOT):
        raise Failed(f"--config={config} is no file of the checkout {ROOT}, whose last commit is what the TPU gets")
    name = path.relative_to(ROOT).as_posix()
    found = git("show", f"HEAD:{name}")
    if found.returncode or found.stdout != path.read_bytes():
        what = "differs from" if not found.returncode else "is not in"
        raise Failed(f"--config={config} {what} the last commit, which is what the TPU gets: commit it first")
    changed = [line[3:] for line in git("status", "--porcelain").stdout.decode().splitlines()]
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        say(f"not committed, so the TPU does not get it: {', '.join(changed[:5])}{more}")
    return name


def git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """A question to git about the checkout."""
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise Failed("git is not installed, and the TPU gets the checkout's last commit") from None


def kind(accelerator: str) -> str:
    """v5litepod of v5litepod-16."""
    return accelerator.partition("-")[0]


class Tpu:
    """A TPU VM of that name, with or without a run."""

    def __init__(self, flags: argparse.Namespace):
        self.flags = flags
        self.gcloud = Gcloud(flags.zone, flags.project, dry_run=flags.dry_run)
        self.stop_sign = f"{flags.workdir}/stopped"

    # ------------------------------------------------------------ the machine

    def state(self) -> str:
        """READY, CREATING, PREEMPTED, …; empty if there is none."""
        return self.gcloud.ask("tpu-vm", "describe", self.flags.name, "--format=value(state)")

    def make(self) -> None:
        """Makes the TPU, or takes the one of that name; waits until it is ready."""
        state = self.state()
        if state in GONE:
            if state:
                say(f"TPU {self.flags.name} is {state}; deleting it and making it anew")
            self.gcloud.note(f"if it is not there, or is {', '.join(filter(None, GONE))}; any other is taken as it is")
            self.delete()
            self.create()
        else:
            say(f"TPU {self.flags.name} is {state}; taking it")
        while not self.flags.dry_run and (state := self.state()) != "READY":
            if self.flags.queued:
                queued = self.gcloud.ask("queued-resources", "describe", self.flags.name, "--format=value(state.state)")
                if queued in ("FAILED", "SUSPENDED"):
                    raise Failed(f"the queued resource {self.flags.name} is {queued}; stop it and start again")
                state = state or queued
            say(f"TPU {self.flags.name} is {state or 'not there yet'}")
            time.sleep(self.flags.poll)

    def create(self) -> None:
        """Asks for the TPU, directly or in the queue."""
        f = self.flags
        runtime = f.runtime or RUNTIMES[kind(f.type)]
        kinds = [flag for flag, wanted in (("--spot", f.spot), ("--reserved", f.reserved)) if wanted]
        accelerator = f"--accelerator-type={f.type}"
        if f.queued:
            node = [f"--node-id={f.name}", accelerator, f"--runtime-version={runtime}"]
            self.gcloud.run("queued-resources", "create", f.name, *node, *kinds)
        else:
            self.gcloud.run("tpu-vm", "create", f.name, accelerator, f"--version={runtime}", *kinds)

    def delete(self) -> None:
        """Deletes the TPU and its queued resource, if they exist."""
        name, dry_run = self.flags.name, self.flags.dry_run
        queued = self.gcloud.ask("queued-resources", "describe", name, "--format=value(state.state)")
        if queued or self.flags.queued or dry_run:
            if not self.flags.queued:
                self.gcloud.note("if that is there: deleted with its TPU")
            self.gcloud.run("queued-resources", "delete", name, "--quiet", "--force", may_fail=True)
        if not (queued or self.flags.queued):
            self.gcloud.note("otherwise: deleted if it is there")
            self.gcloud.run("tpu-vm", "delete", name, "--quiet", may_fail=True)

    # ------------------------------------------------------------ the run

    def install(self) -> None:
        """Copies this checkout's commit to every worker and installs the packages that it pins."""
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "bert_jax.tar.gz"
            self.gcloud.local("git", "-C", str(ROOT), "archive", "--format=tar.gz", f"--output={archive}", "HEAD")
            self.gcloud.run("tpu-vm", "scp", str(archive), f"{self.flags.name}:", "--worker=all")
        self.ssh(
            "rm -rf bert_jax && mkdir bert_jax && tar -xzf bert_jax.tar.gz -C bert_jax && cd bert_jax"
            f" && python3 -m pip install --quiet --user uv=={UV}"
            " && python3 -m uv venv --quiet --python 3.12 .venv"
            " && python3 -m uv pip install --quiet --python .venv/bin/python --editable '.[tpu]'"
        )

    def begin(self) -> None:
        """Starts the run on every worker, in the background; a running one is left alone."""
        f = self.flags
        self.gcloud.remove(self.stop_sign)
        command = shlex.join(["bash", "bert_jax/launch/worker.sh", f.workdir, f.store, f.config, *f.train_flags])
        self.ssh(
            "if [ -f run.pid ] && kill -0 $(cat run.pid) 2>/dev/null; then echo under way;"
            f" else rm -f run.exit; nohup setsid {command} > run.log 2>&1 < /dev/null & echo $! > run.pid; fi"
        )

    def follow(self) -> int:
        """Shows the log until the run ends, and creates the TPU again when it is lost; returns the run's exit code."""
        seen = 0
        while True:
            state = self.state()
            workers = self.workers() if state == "READY" else []
            seen += self.show(seen) if workers else 0
            if workers and set(workers) == {"0"}:
                return 0
            if wrong := [code for code in workers if code in FINAL]:
                return int(wrong[0])
            if state in GONE or (workers and "alive" not in workers):
                if self.gcloud.exists(self.stop_sign):
                    say("the run was stopped")
                    return STOPPED
                say(
                    f"the run has left TPU {self.flags.name} ({state or 'gone'}); it goes on from its newest checkpoint"
                )
                if state in GONE:
                    self.make()
                    self.install()
                    seen = 0
                self.begin()
            time.sleep(self.flags.poll)

    def workers(self) -> list[str]:
        """The state of each worker's part of the run: alive, dead, or its final exit code."""
        look = (
            "if [ -f run.exit ]; then cat run.exit;"
            " elif [ -f run.pid ] && kill -0 $(cat run.pid) 2>/dev/null; then echo alive; else echo dead; fi"
        )
        return self.gcloud.ssh_output(self.flags.name, look).split()

    def show(self, seen: int) -> int:
        """Prints what the first worker's log has beyond `seen` bytes; returns how many these are."""
        new = self.gcloud.ssh_output(self.flags.name, f"tail -c +{seen + 1} run.log 2>/dev/null", worker="0")
        sys.stdout.write(new)
        sys.stdout.flush()
        return len(new.encode())

    def stop(self) -> int:
        """Lets the run save and end, then deletes the TPU."""
        self.gcloud.write(self.stop_sign)  # else a `follow` would create the TPU again
        ready = self.state() == "READY"
        self.gcloud.note("if it is READY")
        if ready or self.flags.dry_run:
            wait = "for i in $(seq 60); do kill -0 $(cat run.pid) 2>/dev/null || break; sleep 2; done"
            self.ssh(f"if [ -f run.pid ]; then kill -TERM $(cat run.pid) 2>/dev/null; {wait}; fi", may_fail=True)
        if not self.flags.keep:
            self.delete()
        return 0

    def ssh(self, command: str, may_fail: bool = False) -> None:
        """Runs a command on every worker."""
        self.gcloud.run("tpu-vm", "ssh", self.flags.name, "--worker=all", f"--command={command}", may_fail=may_fail)


def say(text: str) -> None:
    """Prints a line of the launcher's own."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
