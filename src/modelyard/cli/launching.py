"""Starting the supervisor of a home, and waiting until all of it answers."""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.cli.problems import CliError, ExitCode
from modelyard.domain.masking import is_secret_name
from modelyard.supervisor.processes import read_record, recorded

if TYPE_CHECKING:
    from modelyard.client import Modelyard
    from modelyard.settings import Settings
    from modelyard.supervisor.processes import Identity

# A control process that ends this often before it answers once will not come up by being tried again.
_GIVE_UP_AFTER = 3
_LOG_LINES = 12


def resolve(home: Path | None, host: str | None = None, port: int | None = None) -> Settings:
    """The settings: flags, then the environment, then modelyard.toml, then defaults.

    Raises:
        CliError: naming every setting that is wrong.
    """
    from pydantic import ValidationError

    from modelyard.settings import Settings

    if home is not None:
        # The toml file of the home is looked for by the environment.
        os.environ["MODELYARD_HOME"] = str(home)
    flags: dict[str, Any] = {"home": home, "host": host, "port": port}
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}{_given(e['loc'], e['input'])}"
            for e in error.errors()
        ]
        raise CliError(
            "The settings are not valid.", log="\n".join(wrong), exit_code=ExitCode.USAGE,
            hint="They come from flags, MODELYARD_* in the environment, and modelyard.toml.",
        ) from error  # fmt: skip
    except ValueError as error:
        raise CliError(f"modelyard.toml cannot be read: {error}", exit_code=ExitCode.USAGE) from error


def _given(where: tuple[int | str, ...], value: object) -> str:
    """What was set, unless that is a secret or all of the settings."""
    is_secret = not where or is_secret_name(str(where[-1])) or where[-1] == "database_url"
    return "" if is_secret else f" (got {str(value)[:100]!r})"


def running_supervisor(settings: Settings) -> Identity | None:
    """The supervisor of this home, if one runs."""
    return recorded(read_record(settings.run_dir / "up.json"))


class AlreadyRunning(CliError):
    """Another supervisor holds this home."""


class Supervisor:
    """A supervisor that we have started, and what it says."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        read_end, write_end = os.pipe()
        self._reports = os.fdopen(read_end, "rb", buffering=0)
        self._unread = b""
        # In memory, as a full disk may be what it has to say.
        self._stderr = os.fdopen(os.memfd_create("stderr"), "rb")
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "modelyard.supervisor"],
                env={**_environment(settings), "MODELYARD_REPORT_FD": str(write_end)},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._stderr,
                pass_fds=(write_end,), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(write_end)

    def wait_until_up(self) -> None:
        """Raises CliError when it cannot start, with what to do about it."""
        for report in self._read(timeout=None):
            if report["event"] == "up":
                return
            if report["event"] == "error":
                self.process.wait()
                raise self._error(report["code"], report["message"])
        self.process.wait()
        self._stderr.seek(0)
        log = self._stderr.read().decode(errors="replace")[-2000:]
        raise CliError(f"The supervisor ended with status {self.process.returncode}.", log=log)

    def check(self) -> None:
        """Raises CliError when the control process or the gateway keeps ending."""
        for report in self._read(timeout=0):
            if report["event"] == "exit" and report["failures"] >= _GIVE_UP_AFTER:
                name = report["service"]
                path = self._settings.logs_dir / f"{name}.log"
                raise CliError(f"The {name} process cannot start.", log=last_lines(path), hint=f"All of it: {path}")
        if self.process.poll() is not None:
            path = self._settings.logs_dir / "supervisor.log"
            raise CliError("The supervisor has ended.", log=last_lines(path), hint=f"All of it: {path}")

    def detach(self) -> None:
        """Let it go on without us."""
        self._reports.close()
        self._stderr.close()
        # It outlives us by design; Popen would warn of a child that still runs.
        self.process.returncode = self.process.returncode or 0

    def _read(self, timeout: float | None) -> Iterator[dict[str, Any]]:
        while select.select([self._reports], [], [], timeout)[0]:
            data = self._reports.read(4096)
            if not data:
                return
            *lines, self._unread = (self._unread + data).split(b"\n")
            yield from map(json.loads, lines)

    def _error(self, code: str, message: str) -> CliError:
        port = self._settings.port
        hints = {
            "port_in_use": f"Choose another: modelyard up --port {port + 1 if port < 65535 else port - 1}, or set "
            "MODELYARD_PORT.",
            "home_unusable": "Choose another folder: modelyard up --home DIR, or set MODELYARD_HOME.",
        }
        if code == "already_running":
            return AlreadyRunning(message, exit_code=ExitCode.REFUSED)
        exit_code = ExitCode.REFUSED if code == "token_needed" else ExitCode.FAILED
        return CliError(message, hint=hints.get(code, ""), exit_code=exit_code)


def wait_until_healthy(client: Modelyard, timeout: float, check: Callable[[], None]) -> None:
    """Return once the control process answers through the gateway.

    Raises:
        CliError: it does not within ``timeout`` seconds, or ``check`` has found out why it will not.
    """
    from modelyard.client import ModelyardError, Unauthorized, calls

    once = replace(calls.version(), repeatable=False, read_timeout=1.0)
    deadline = time.monotonic() + timeout
    while True:
        check()
        try:
            client.send(once)
        except Unauthorized as error:
            raise CliError(
                f"Modelyard runs at {client.url}, but does not take our token.", exit_code=ExitCode.REFUSED,
                hint=f"It takes the one in {client.home / 'admin.token'}, or its own MODELYARD_TOKEN.",
            ) from error  # fmt: skip
        except ModelyardError as error:
            if time.monotonic() >= deadline:
                raise CliError(
                    f"Modelyard at {client.url} does not answer after {timeout:g} s: {error.detail}",
                    log=last_lines(client.home / "logs" / "control.log"), exit_code=ExitCode.TIMED_OUT,
                ) from error  # fmt: skip
            time.sleep(0.03)
        else:
            return


def last_lines(path: Path) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    except OSError:
        return ""


def _environment(settings: Settings) -> dict[str, str]:
    """Ours, with the settings as they were resolved and no other MODELYARD_ variable."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    if "PYTHONPATH" in environ:
        # The supervisor leaves our working folder, which relative entries start from.
        entries = environ["PYTHONPATH"].split(os.pathsep)
        environ["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in entries if entry)
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        environ[f"MODELYARD_{name.upper()}"] = "" if value is None else str(value)
    return environ


def invocation(settings: Settings) -> str:
    """How to call this command again: by name if the shell finds it, else by the path it was called by;
    with the home unless it is the one that a bare call would find."""
    called = Path(sys.argv[0])
    found = shutil.which("modelyard")
    if found is not None and Path(found).resolve() == called.resolve():
        words = ["modelyard"]
    elif called.name == "modelyard":
        words = [sys.argv[0]]
    else:
        words = [sys.executable, "-m", "modelyard.cli.main"]
    if settings.home != Path("~/.modelyard").expanduser().absolute():
        words += ["--home", str(settings.home)]
    return shlex.join(words)
