"""Run a verb on another machine with ssh: copy files there, read JSON back, remove the files."""

import contextlib
import dataclasses
import json
import re
import shlex
import subprocess
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Remote"]

_TIMEOUT_S = 3600
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*|\[?[0-9A-Fa-f:.]+\]?")


@dataclasses.dataclass(frozen=True, slots=True)
class Remote:
    """A machine that `ssh` reaches with a key and without questions.

    Args:
        host: name or address.
        user: on that machine; "" for the default of ssh.
        port: 0 for the default of ssh.
        program: the squeezekit command on that machine.
    """

    host: str
    user: str = ""
    port: int = 0
    program: str = "squeezekit"

    @classmethod
    def parse(cls, url: str, *, program: str = "squeezekit") -> "Remote":
        """Read `ssh://user@host[:port]`.

        Args:
            url: the address.
            program: the squeezekit command on that machine.

        Raises:
            ValueError: it is another kind of address, or has a password in it.

        Example:
            >>> Remote.parse("ssh://pi@raspberrypi:2222")
            Remote(host='raspberrypi', user='pi', port=2222, program='squeezekit')
        """
        wanted = f"Expected an address like ssh://user@host[:port]. Received: {url!r}."
        try:
            parts = urllib.parse.urlsplit(url)
            host, user, port = parts.hostname or "", parts.username or "", parts.port or 0
        except ValueError as error:
            raise ValueError(wanted) from error
        if parts.password is not None:
            raise ValueError(
                "Expected an address without a password, which others could read. Copy your key to the machine with "
                f"ssh-copy-id. Received: ssh://{user}:...@{host}."
            )
        if parts.scheme != "ssh" or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(wanted)
        # ssh would read a name that begins with a dash as an option.
        if not _SAFE.fullmatch(host) or (user and not _SAFE.fullmatch(user)):
            raise ValueError(wanted)
        return cls(host, user, port, program)

    @property
    def name(self) -> str:
        """The name to show to people."""
        return f"{self.user}@{self.host}" if self.user else self.host

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        """A temporary folder on that machine."""
        path = self._run("mktemp -d", "make a folder").decode().strip()
        if not path.startswith("/"):
            raise OSError(f"{self.name}: mktemp answered {path!r}")
        try:
            yield path
        finally:
            self._run(f"rm -rf {shlex.quote(path)}", "remove the folder")

    def copy(self, source: Path, folder: str, name: str) -> str:
        """Copy a file into a folder on that machine; return its path there."""
        target = f"{folder}/{name}"
        self._run(f"cat > {shlex.quote(target)}", f"copy {source}", source.read_bytes())
        return target

    def run_json(self, arguments: Sequence[str]) -> Any:
        """Run squeezekit on that machine and parse the JSON that it prints.

        Args:
            arguments: the words after `squeezekit`.

        Raises:
            OSError: the machine cannot be reached; or squeezekit is missing there, fails or prints no JSON.
        """
        words = shlex.join([*shlex.split(self.program), *arguments])
        output = self._run(words, "run squeezekit")
        try:
            return json.loads(output)
        except ValueError as error:
            raise OSError(
                f"{self.name}: {words.split()[0]} printed no JSON; is it another version?"
            ) from error

    def _run(self, command: str, what: str, data: bytes = b"") -> bytes:
        # BatchMode: ssh asks neither for a password nor whether to trust a host.
        words = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
        words += ["-p", str(self.port)] if self.port else []
        try:
            done = subprocess.run(
                [*words, "--", self.name, command], input=data, capture_output=True, timeout=_TIMEOUT_S
            )
        except FileNotFoundError as error:
            raise OSError("this machine has no ssh: install the OpenSSH client") from error
        except subprocess.TimeoutExpired as error:
            raise OSError(f"{self.name}: no answer within {_TIMEOUT_S // 60} minutes") from error
        if done.returncode == 0:
            return done.stdout
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        if done.returncode == 127:
            raise OSError(
                f"{self.name}: it has no {self.program!r}; install it there (pip install squeezekit) or give its path "
                "with --remote-program"
            )
        if done.returncode == 255 and "Host key verification failed" in lines[-1]:
            raise OSError(f"{self.name}: its host key is not known; connect by hand first: ssh {self.name}")
        raise OSError(f"{self.name}: could not {what} ({lines[-1].removeprefix('squeezekit: ')})")
