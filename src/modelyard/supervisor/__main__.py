"""See the package. Run as ``python -m modelyard.supervisor``."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import json
import logging
import math
import os
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from modelyard import __version__
from modelyard.supervisor.listening import CannotStart, listen, listen_on_path, url_of
from modelyard.supervisor.processes import (
    CONTROL_FD,
    MODULES,
    Identity,
    clean_up,
    end_processes,
    environment,
    identify,
    instance_processes,
    read_record,
    service_processes,
    write_whole,
)

log = logging.getLogger("modelyard.supervisor")

DOWN_TIMEOUT = 30.0
# The gateway gives requests in flight 5 s.
_GATEWAY_GRACE = 8.0
_ROTATE_ABOVE = 10 * 2**20
# The first restart is immediate; a service that lived this long starts that count anew.
_STEADY_AFTER = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
# How often an adopted process is looked at where the kernel has no pidfd.
_POLL = 0.2
_PR_SET_CHILD_SUBREAPER = 36
_VERSION, _LISTEN_FD = "MODELYARD_VERSION", "MODELYARD_LISTEN_FD"


@dataclass(slots=True)
class Service:
    """One of the processes; of control processes there may be several, told apart by ``number``. ``failures``
    counts ends in a row, ``retry_at`` (monotonic) is the next start."""

    name: str
    number: int = 1
    process: Identity | None = None
    watch: int | None = None
    began: float = 0.0
    failures: int = 0
    retry_at: float | None = None

    @property
    def key(self) -> str:
        """Names it in records and logs."""
        return self.name if self.number == 1 else f"{self.name}-{self.number}"

    def runs(self, process: Identity) -> None:
        self.process, self.began, self.retry_at = process, time.monotonic(), None
        with contextlib.suppress(OSError):
            self.watch = os.pidfd_open(process.pid)

    def is_left(self) -> list[Identity]:
        return self.process.is_left() if self.process is not None else []


class Supervisor:
    """See the module. Single-threaded; woken by signals, by pidfds and by the clock."""

    def __init__(self, home: Path, host: str, port: int, report: IO[str] | None, controls: int = 1) -> None:
        self._home = home
        self._run = home / "run"
        self._host = host
        self._port = port
        self._report = report
        # By which clients on this machine know the front door again, whatever name it is for.
        self._certificate = os.environ.get("MODELYARD_TLS_CERT", "")
        self._url = url_of(host, port, secure=bool(self._certificate))
        self._listener: socket.socket | None = None
        # Several control processes share one listening socket: whichever lives answers.
        self._shares_api = controls > 1
        self._api: socket.socket | None = None
        self._gateway = Service("gateway")
        self._controls = tuple(Service("control", number) for number in range(1, controls + 1))
        self._services = (self._gateway, *self._controls)
        # What a service runs with; one that runs with other settings or of another version is replaced.
        os.environ[_VERSION] = __version__
        self._settings = _settings(os.environ)
        self._wake_in, self._wake_out = os.pipe()
        self._ending = False
        self._cut_at = math.inf

    def start(self) -> None:
        """Adopt or start everything and say that it is up.

        Raises:
            CannotStart: the port cannot be had.
            OSError: the home cannot be written.
        """
        self._catch_signals()
        self._adopt("gateway", (self._gateway,))
        self._adopt("control", self._controls)
        if self._gateway.process is None:
            self._listener = listen(self._host, self._port)
        missing = [service for service in self._services if service.process is None]
        try:
            for service in missing:
                self._spawn(service)
            self._write_record()
        except OSError:
            # Of a start that fails nothing stays; what was adopted goes on as it did.
            for service in missing:
                self._end(service.is_left, time.monotonic())
            raise
        log.info("Supervisor %d is up at %s", os.getpid(), self._url)
        self._say("up")

    def watch(self) -> None:
        """Keep both services running until told to end."""
        while not self._ending:
            self._sleep()
            self._reap()
            now = time.monotonic()
            for service in self._services:
                if service.process is not None and not service.process.is_alive:
                    self._ended(service, now)
                if service.process is None and service.retry_at is not None and now >= service.retry_at:
                    self._start_again(service)

    def end(self) -> None:
        """End everything: first the control process, which ends the workers, then the gateway. A second
        SIGTERM kills what is left."""
        timeout = read_record(self._run / "down.json").get("timeout", DOWN_TIMEOUT)
        deadline = time.monotonic() + timeout
        log.info("Ending, within %g s", timeout)
        # All at once, so that none takes over what another one ends.
        left = self._end(lambda: [p for control in self._controls for p in control.is_left()], deadline)
        # A control process that was killed has left its workers.
        left += self._end(lambda: instance_processes(self._home), deadline)
        left += self._end(self._gateway.is_left, time.monotonic() + _GATEWAY_GRACE)
        if left:
            log.error("Cannot be killed: %s", ", ".join(str(process.pid) for process in left))
        clean_up(self._run)
        log.info("Ended")

    # ------------------------------------------------------------------ helpers

    def _end(self, look: Callable[[], list[Identity]], deadline: float) -> list[Identity]:
        return end_processes(look, lambda: min(deadline, self._cut_at))

    def _adopt(self, name: str, services: tuple[Service, ...]) -> None:
        for process in service_processes(self._home, name):
            free = next((service for service in services if service.process is None), None)
            if free is not None and _settings(environment(process.pid)) == self._settings:
                log.info("Adopting %s %d", free.key, process.pid)
                free.runs(process)
                continue
            log.info("Replacing %s %d, which has other settings or is of another version", name, process.pid)
            # The control process is killed, not asked: asked to end it would end the workers too.
            deadline = time.monotonic() + (_GATEWAY_GRACE if name == "gateway" else 0.0)
            self._end(process.is_left, deadline)

    def _spawn(self, service: Service) -> None:
        log_fd = _open_log(self._home / "logs" / f"{service.key}.log")
        environ = dict(os.environ)
        actions = [(os.POSIX_SPAWN_DUP2, log_fd, 1), (os.POSIX_SPAWN_DUP2, log_fd, 2)]
        if service.name == "gateway":
            assert self._listener is not None
            actions.append((os.POSIX_SPAWN_DUP2, self._listener.fileno(), 3))
            environ[_LISTEN_FD] = "3"
        elif self._shares_api:
            self._api = self._api or listen_on_path(self._run / "control.sock")
            actions.append((os.POSIX_SPAWN_DUP2, self._api.fileno(), 3))
            environ[CONTROL_FD] = "3"
        try:
            # -P so that nothing that lies in the working folder is imported by chance.
            pid = os.posix_spawn(
                sys.executable, [sys.executable, "-P", "-m", MODULES[service.name]], environ,
                file_actions=actions, setsid=True, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP),
            )  # fmt: skip
        finally:
            os.close(log_fd)
        # A child that has not been collected keeps its number, so this is that child.
        process = identify(pid)
        assert process is not None
        service.runs(process)
        # The gateway writes its own record, as soon as it serves.
        if service.name == "control":
            write_whole(self._run / f"{service.key}.json", json.dumps(asdict(process)))
        self._write_record()
        log.info("Started %s %d", service.key, pid)

    def _write_record(self) -> None:
        """up.json: for clients where we are, for the next supervisor whom to adopt."""
        me = identify(os.getpid())
        assert me is not None
        record = {
            **asdict(me), "host": self._host, "port": self._port, "url": self._url,
            "certificate": self._certificate, "version": __version__,
            **{s.key: asdict(s.process) for s in self._services if s.process is not None},
        }  # fmt: skip
        write_whole(self._run / "up.json", json.dumps(record))

    def _ended(self, service: Service, now: float) -> None:
        service.failures = 1 if now - service.began > _STEADY_AFTER else service.failures + 1
        pause = 0.0 if service.failures == 1 else min(_FIRST_PAUSE * 2 ** (service.failures - 2), _LONGEST_PAUSE)
        log.warning("The %s process has ended; starting it again in %.1f s", service.key, pause)
        self._say("exit", service=service.key, failures=service.failures)
        if service.watch is not None:
            os.close(service.watch)
        service.process = service.watch = None
        service.retry_at = now + pause

    def _start_again(self, service: Service) -> None:
        try:
            if service.name == "gateway" and self._listener is None:
                self._listener = listen(self._host, self._port)
            self._spawn(service)
        except (OSError, CannotStart) as error:
            log.error("Cannot start the %s process: %s", service.key, error)
            service.failures += 1
            service.retry_at = time.monotonic() + _LONGEST_PAUSE

    def _catch_signals(self) -> None:
        for fd in (self._wake_in, self._wake_out):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_end(self, *_: object) -> None:
        if self._ending:
            self._cut_at = time.monotonic()
        self._ending = True

    def _sleep(self) -> None:
        now = time.monotonic()
        waits = [s.retry_at - now for s in self._services if s.process is None and s.retry_at is not None]
        if any(s.process is not None and s.watch is None for s in self._services):
            waits.append(_POLL)
        watches = [s.watch for s in self._services if s.watch is not None]
        select.select([self._wake_in, *watches], [], [], max(0.0, min(waits)) if waits else None)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_in, 4096):
                pass

    @staticmethod
    def _reap() -> None:
        """Collect ended children: the services, and orphans, of which we are the reaper."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _say(self, event: str, **details: object) -> None:
        if self._report is None:
            return
        try:
            print(json.dumps({"event": event, **details}), file=self._report, flush=True)
        except OSError:
            # Whoever started us has gone on.
            self._report = None


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environ.items() if k.startswith("MODELYARD_") and k not in (_LISTEN_FD, CONTROL_FD)}


def _ensure_token(home: Path) -> None:
    """Make the administrator token on the first start; 256 random bits."""
    path = home / "admin.token"
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(32) + "\n")


def _open_log(path: Path) -> int:
    """The log's descriptor, for appending; one that has grown large is put aside first."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _ROTATE_ABOVE:
            path.replace(path.with_name(path.name + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _prepare(home: Path, host: str) -> IO[str]:
    """Make the home and its token; return the home's lock, which is held as long as the file is open."""
    try:
        for folder in (home, home / "run", home / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (home / "run" / "up.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise CannotStart("already_running", f"Modelyard already runs in {home}.") from None
        if not os.environ.get("MODELYARD_TOKEN"):
            if not _is_loopback(host) and not (home / "admin.token").exists():
                raise CannotStart(
                    "token_needed",
                    f"Refusing to listen on {host}, which others can reach, before there is a token. Set "
                    f"MODELYARD_TOKEN, or run `modelyard up` on loopback once, which makes {home}/admin.token.",
                )
            _ensure_token(home)
        log_fd = _open_log(home / "logs" / "supervisor.log")
    except OSError as error:
        raise _unusable(home, error) from error
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    return lock


def _unusable(home: Path, error: OSError) -> CannotStart:
    return CannotStart("home_unusable", f"The home {home} cannot be used: {error.strerror or error}.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main() -> int:
    try:
        home, host = Path(os.environ["MODELYARD_HOME"]), os.environ["MODELYARD_HOST"]
        port = int(os.environ["MODELYARD_PORT"])
        controls = int(os.environ.get("MODELYARD_CONTROL_PROCESSES", "1"))
    except (KeyError, ValueError):
        print("The supervisor is started by `modelyard up`.", file=sys.stderr)  # noqa: T201 - for people
        return 2
    number = os.environ.pop("MODELYARD_REPORT_FD", "")
    report = os.fdopen(int(number), "w") if number else None
    if report is not None:
        # Whoever reads it learns from its end that we have ended; the services outlive us.
        os.set_inheritable(report.fileno(), False)
    try:
        lock = _prepare(home, host)
        # A full disk must not end what keeps the rest running.
        logging.raiseExceptions = False
        logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        os.chdir(home)
        # Orphans of a killed control process become ours to collect, not init's to forget.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        supervisor = Supervisor(home, host, port, report, controls)
        supervisor.start()
    except (CannotStart, OSError) as problem:
        error = problem if isinstance(problem, CannotStart) else _unusable(home, problem)
        log.error("%s", error)
        if report is not None:
            print(json.dumps({"event": "error", "code": error.code, "message": str(error)}), file=report, flush=True)
        return 1
    with lock:
        supervisor.watch()
        supervisor.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
