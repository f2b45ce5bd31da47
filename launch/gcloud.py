"""The `gcloud` command line: run, asked, or only printed."""

import shlex
import subprocess
from collections.abc import Sequence
from typing import Any


class Failed(Exception):
    """A command that did not work; the message says which and what it said."""


class Gcloud:
    """Commands below `gcloud compute tpus`, all in one zone and project."""

    def __init__(self, zone: str, project: str | None, *, dry_run: bool):
        self._where = [f"--zone={zone}", *([f"--project={project}"] if project else [])]
        self._dry_run = dry_run

    def run(self, group: str, verb: str, *arguments: str, may_fail: bool = False) -> None:
        """Runs a command, its output shown.

        Raises:
          Failed: it did not work, and that is not expected.
        """
        self.local(*self._command(group, verb, *arguments), may_fail=may_fail)

    def local(self, *command: str, may_fail: bool = False) -> None:
        """Runs any command of this machine, as `run`."""
        if self._dry_run:
            print(shlex.join(command))
        elif (code := self._start(command).returncode) and not may_fail:
            raise Failed(f"`{shlex.join(command)}` ended with exit code {code}")

    def note(self, condition: str) -> None:
        """In a dry run: when the commands printed next would run."""
        if self._dry_run:
            print(f"# {condition}:")

    def ask(self, group: str, verb: str, *arguments: str) -> str:
        """What a command prints; empty if it fails, as it does for what does not exist."""
        command = self._command(group, verb, *arguments)
        if self._dry_run:
            print(shlex.join(command))
            return ""
        answer = self._start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if answer.returncode and not says_not_found(answer.stderr):
            raise Failed(f"`{shlex.join(command)}` says: {answer.stderr.strip()}")
        return "" if answer.returncode else answer.stdout.strip()

    def ssh_output(self, name: str, command: str, worker: str = "all") -> str:
        """What a command prints on a worker; empty where it cannot be reached, which its state then explains."""
        arguments = self._command("tpu-vm", "ssh", name, f"--worker={worker}", f"--command={command}")
        answer = self._start(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return answer.stdout

    def exists(self, path: str) -> bool:
        """Whether there is a gs:// object."""
        command = ["gcloud", "storage", "ls", path]
        return self._start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def write(self, path: str) -> None:
        """Writes a gs:// object of one line."""
        if self._dry_run:
            print(f"echo yes | gcloud storage cp - {path}")
        elif self._start(["gcloud", "storage", "cp", "-", path], input=b"yes\n").returncode:
            raise Failed(f"{path} cannot be written")

    def remove(self, path: str) -> None:
        """Removes a gs:// object, if there is one."""
        self.note(f"if {path} is there")
        if self._dry_run or self.exists(path):
            self.local("gcloud", "storage", "rm", path)

    def _command(self, group: str, verb: str, *arguments: str) -> list[str]:
        return ["gcloud", "compute", "tpus", group, verb, *arguments, *self._where]

    def _start(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess:
        try:
            return subprocess.run(command, check=False, **options)
        except FileNotFoundError:
            raise Failed(f"{command[0]} is not installed: https://cloud.google.com/sdk/docs/install") from None


def says_not_found(text: str) -> bool:
    """Whether gcloud says that the resource does not exist."""
    return "NOT_FOUND" in text or "not found" in text.lower()
