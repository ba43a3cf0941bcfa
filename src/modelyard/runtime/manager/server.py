"""``python -m modelyard.runtime serve``, which ``modelyard serve`` becomes: a server of many models, for development
first. It has no access control; the gateway has."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import uvicorn

from modelyard.runtime import engines
from modelyard.runtime.engines.base import LoadOptions, Model
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.listening import listen, url_of
from modelyard.runtime.manager.arguments import Arguments, parse
from modelyard.runtime.manager.browsers import guarded
from modelyard.runtime.manager.config import Environment, OnTimeout
from modelyard.runtime.manager.events import Event, Kind
from modelyard.runtime.manager.folders import Found, NothingFound, find
from modelyard.runtime.manager.manager import ModelManager
from modelyard.runtime.manager.phases import Phase
from modelyard.tasks import spawn, stop

# As the command line's own: what was tried and failed, what was written wrong, what was interrupted.
_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class _Wrong(Exception):
    """The arguments cannot be followed; its text says why and what to do."""


def main(arguments: list[str]) -> int:
    """Serve until told to end, and end the process; returns its exit code where there was nothing to serve."""
    try:
        server = _Serve(parse(arguments))
    except (_Wrong, NothingFound, LoadFailure, ValueError) as error:
        _complain(str(error))
        return _USAGE
    try:
        listening = listen(server.host, server.port)
    except OSError as error:
        _complain(f"{server.host}:{server.port} cannot be bound: {error.strerror}. Choose another --port.")
        return _FAILED
    try:
        code = asyncio.run(server.run(listening))
    except KeyboardInterrupt:
        # The second one: what is still in use is not waited for.
        code = _INTERRUPTED
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread in which a model is still being loaded does not survive the interpreter's end.
    os._exit(code)


def _complain(text: str) -> None:
    print(f"Error: {text}", file=sys.stderr)  # noqa: T201 - it is this program's output


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - it is this program's output


class _Serve:
    """One server: its models, and who is told what."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self.manager = ModelManager(arguments.config)
        self._watched: dict[str, Path] = {}
        self._roots: list[Path] = []
        self._ended_by_timeout = False
        self._url = ""
        self.host = self._address()
        self.port = arguments.port
        self._register()

    @property
    def _in_development(self) -> bool:
        return self.manager.config.environment is Environment.DEVELOPMENT

    def _address(self) -> str:
        host = self._arguments.host or os.environ.get("MODELYARD_HOST") or _LOOPBACK[0]
        if self._in_development and not self._arguments.host and host not in _LOOPBACK:
            raise _Wrong(
                f"MODELYARD_HOST is {host}, and a development server, which anybody may use who reaches it, is bound "
                f"to this machine only: give --host {host} if that is meant."
            )
        return host

    # ---------------------------------------------------------------- models

    def _register(self) -> None:
        arguments = self._arguments
        if not arguments.models and not arguments.mocks:
            raise _Wrong("There is nothing to serve: give a model's file, a folder of models, or --mock NAME.")
        for name, file in arguments.mocks.items():
            self._register_mock(name, file)
        for name, path in arguments.models:
            found = find(path, name)
            if found[0].watched != path:
                self._roots.append(path)
            for one in found:
                self._register_found(one, named=len(found) == 1)
        preload = sorted(self.manager.config.preload or ())
        for option, names in (("--critical", arguments.critical), ("--preload", preload)):
            unknown = [name for name in names if name not in self.manager.loading.entries]
            if unknown:
                known = ", ".join(self.manager.loading.entries)
                raise _Wrong(f"{option}: there is no model {', '.join(unknown)}; there are {known}.")

    def _register_found(self, found: Found, *, named: bool) -> None:
        """``named``: on the command line, so that it is wanted; of those in a folder the configuration says which."""
        if found.name in self.manager.loading.entries:
            raise _Wrong(f"There are two models {found.name!r}: name one of them, as in other={found.path}.")
        self.manager.register(
            found.name, found.path, trusted=self._arguments.trusted, critical=found.name in self._arguments.critical,
            preload=True if named else None,
        )  # fmt: skip
        self._watched[found.name] = found.watched

    def _register_mock(self, name: str, file: Path | None) -> None:
        if not self.manager.config.allow_mock:
            raise _Wrong(
                f"--mock {name}: this is production (told by: {self.manager.config.told_by}), which serves no mocks: "
                "give --environment development."
            )
        if file is not None:
            if not file.is_file():
                raise _Wrong(f"--mock {name}: there is no file {file}.")
            self._watched[name] = file
        self.manager.register(
            name, lambda: _mock(file), critical=name in self._arguments.critical, preload=True, memory=0
        )

    def _rescan(self) -> None:
        """What has come to the folders of models, or gone from them."""
        for root in self._roots:
            with contextlib.suppress(NothingFound, LoadFailure, OSError):
                found = {one.name: one for one in find(root)}
                for one in found.values():
                    if one.name not in self.manager.loading.entries:
                        self._register_found(one, named=False)
                        _say(f"  {one.name:<20} is new")
                for name, path in list(self._watched.items()):
                    if path.parent == root and name not in found:
                        del self._watched[name]
                        spawn(self._forget(name), f"forget {name}")

    async def _forget(self, name: str) -> None:
        with contextlib.suppress(RequestError):
            await self.manager.unregister(name)

    # ---------------------------------------------------------------- from beginning to end

    async def run(self, listening: socket.socket) -> int:
        self._url = url_of(listening)
        config = uvicorn.Config(
            self._application(), log_level="warning", access_log=False, lifespan="off",
            timeout_graceful_shutdown=int(self.manager.config.drain_timeout) + 1,
        )  # fmt: skip
        server = _Server(config)
        self._introduce()
        self.manager.subscribe(lambda event: self._tell(event, server))
        # All that is alive now stays: collections need not look at it again.
        gc.freeze()
        gc.enable()
        async with self.manager.lifespan(None), self._reloading():
            with _signals(server.handle_exit):
                await server.serve([listening])
        return _FAILED if self._ended_by_timeout else 0

    def _application(self) -> Any:
        return guarded(
            self.manager.app, self._arguments.cors, local_origins=self._in_development,
            local_hosts=self.host in _LOOPBACK,
        )  # fmt: skip

    @asynccontextmanager
    async def _reloading(self) -> AsyncGenerator[None]:
        if not self._arguments.reload:
            yield
            return
        from modelyard.runtime.manager.watching import Watcher

        watcher = Watcher(self.manager, self._watched, self._roots, self._rescan)
        task = spawn(watcher.run(), "watch files")
        try:
            yield
        finally:
            await stop(task)

    # ---------------------------------------------------------------- what is said

    def _introduce(self) -> None:
        config, names = self.manager.config, list(self.manager.loading.entries)
        _say(f"Modelyard serves {len(names)} model{'s' * (len(names) != 1)} at {self._url}")
        _say(f"  {config.environment.value} ({config.told_by}){', reloads what changes' * self._arguments.reload}")
        for name in names:
            _say(f"  {name:<20} POST {self._url}/v2/models/{name}/infer")
        _say(f"  {'ready?':<20} {self._url}/health/ready; all there is to know: {self._url}/status; Ctrl-C ends")
        if self.host not in _LOOPBACK:
            _say("  Whoever reaches this address may use it: there is no access control.")

    def _tell(self, event: Event, server: uvicorn.Server) -> None:
        took = "" if event.seconds is None else f" ({event.seconds:.2f} s)"
        words = _WORDS.get(event.kind)
        if event.kind is Kind.PHASE:
            # The seconds are those since the start; of the end they would read as what it took.
            _say(f"{event.phase.value.replace('_', ' ')}{took * (event.phase is not Phase.STOPPED)}")
        elif event.kind is Kind.TIMED_OUT:
            _complain(event.message)
            if self.manager.config.on_timeout is OnTimeout.FAIL:
                self._ended_by_timeout = True
                server.should_exit = True
        elif words is not None:
            _say(f"  {event.model:<20} {words}{took}{f': {event.message}' * bool(event.message)}")


_WORDS: Final = {
    Kind.READY: "ready",
    Kind.SWAPPED: "changed: the new one serves",
    Kind.KEPT: "changed, and cannot be loaded: the old one goes on",
    Kind.FAILED: "failed",
    Kind.LEFT: "not loaded",
    Kind.EVICTED: "evicted",
    Kind.UNLOADED: "unloaded",
}


def _mock(file: Path | None) -> Model:
    """``file``: tensors in V2's JSON form, as a list or below ``outputs``, where ``latency_ms`` may stand beside."""
    options: Any = {}
    if file is not None:
        try:
            options = orjson.loads(file.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise LoadFailure("invalid_options", f"{file} cannot be read as JSON: {error}") from error
        options = {"outputs": options} if isinstance(options, list) else options
        if not isinstance(options, dict):
            raise LoadFailure("invalid_options", f"{file} must hold a list of tensors, or an object with outputs.")
    return engines.load("mock", LoadOptions(options=options))


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Ours are handled around it, so that being told to end is no failure."""
        yield


@contextmanager
def _signals(handler: Callable[[int, Any], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handler, number, None)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
