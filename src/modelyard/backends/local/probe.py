"""Questions to an instance: are you who I started, are you ready, are you well, can you answer a request?

A probe only asks; how often, and what follows from the answers, is :mod:`instance`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from modelyard.backends.local import http, process
from modelyard.backends.local.files import InstanceFiles, Launch
from modelyard.domain.model import Failure
from modelyard.domain.quantities import format_duration
from modelyard.domain.spec import Probe as ProbeRequest
from modelyard.runtime.frames import ConnectionLost, FramePeer, Head, connect

# Of a check's output, the end.
_OUTPUT_KEPT: Final = 2048
_KILL_TAKES: Final = 1.0


class CheckFailed(Exception):
    """The instance did not answer, or not well; the message says what it did instead."""


class LoadFailed(Exception):
    """The worker has said that it cannot load its model."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Impostor(Exception):
    """What answers on the instance's socket does not know its secret."""


class Probe(Protocol):
    """The engine's own check of one instance."""

    async def prove(self) -> None:
        """Raises Impostor, CheckFailed."""

    async def ready(self) -> Mapping[str, Any]:
        """Wait until it is ready, however long; the model's metadata.

        Raises:
            LoadFailed: it will never be.
            CheckFailed: it is not for now; ask again.
        """

    async def health(self) -> None:
        """Raises CheckFailed."""

    async def answer(self, request: ProbeRequest) -> tuple[int, bytes]:
        """Wait for its answer to a request like those of callers, however long: HTTP's status, and the body.
        Raises CheckFailed."""

    def close(self) -> None: ...


def probe_of(launch: Launch, files: InstanceFiles) -> Probe:
    """The probe of an instance that has been launched."""
    check = launch.spec.container.health_check
    if launch.port is not None:
        return ServerProbe(launch.port, check.path, check.timeout)
    return WorkerProbe(files.socket_path, launch.secret)


class WorkerProbe:
    """Asks a worker in frames, over one connection that is kept."""

    def __init__(self, socket_path: Path, secret: str) -> None:
        self._path = str(socket_path)
        self._secret = bytes.fromhex(secret)
        self._peer: FramePeer | None = None

    async def prove(self) -> None:
        nonce = secrets.token_bytes(16)
        answer, _ = await self._ask("hello", nonce=nonce.hex())
        proof = hmac.new(self._secret, nonce, hashlib.sha256).hexdigest()
        if answer.status != 200 or not hmac.compare_digest(str(answer.params.get("proof")), proof):
            raise Impostor("what answers on the instance's socket does not know its secret")

    async def ready(self) -> Mapping[str, Any]:
        answer, _ = await self._ask("ready")
        if answer.status == 200:
            metadata = answer.params.get("metadata")
            return metadata if isinstance(metadata, dict) else {}
        if answer.status != 500:
            raise CheckFailed(f"the worker answered {answer.status} when asked whether it is ready")
        params = answer.params
        raise LoadFailed(
            Failure(
                code=str(params.get("code", "load_failed")),
                message=str(params.get("message", "The model cannot be loaded.")),
                permanent=bool(params.get("permanent", False)),
            )
        )

    async def health(self) -> None:
        answer, _ = await self._ask("health")
        if answer.status != 200:
            raise CheckFailed(f"the worker answered {answer.status} when asked for its health")

    async def answer(self, request: ProbeRequest) -> tuple[int, bytes]:
        answer, body = await self._ask("infer", _json(request), content_type="application/json")
        return answer.status, bytes(body[: http.BODY_KEPT])

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    async def _ask(self, op: str, body: bytes = b"", **params: Any) -> tuple[Head, memoryview]:
        try:
            if self._peer is None or self._peer.closed:
                self._peer = await connect(self._path)
            return await self._peer.request(Head(op=op, params=params), body)
        except ConnectionLost:
            raise CheckFailed("the worker closed the connection before it answered") from None
        except OSError as error:
            raise CheckFailed(f"the worker's socket cannot be reached: {error.strerror}") from None


class ServerProbe:
    """Asks a server that its user brought: ``path`` over HTTP (2xx and 3xx are well), or just a connection."""

    def __init__(self, port: int, path: str | None, timeout: float) -> None:
        self._port = port
        self._path = path
        self._timeout = timeout

    async def prove(self) -> None:
        """A server of somebody else's making has no secret to prove."""

    async def ready(self) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(self._timeout):
                await self.health()
        except TimeoutError:
            raise CheckFailed(f"port {self._port} did not answer within {format_duration(self._timeout)}") from None
        return {}

    async def health(self) -> None:
        try:
            if self._path is None:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.transport.abort()
                return
            answer = await http.ask(self._port, "GET", self._path)
        except OSError as error:
            raise CheckFailed(f"nothing accepts connections on port {self._port}: {_reason(error)}") from None
        except http.NoAnswer as error:
            raise CheckFailed(str(error)) from None
        if not 200 <= answer.status < 400:
            raise CheckFailed(f"GET {self._path} answered {answer.status}")

    async def answer(self, request: ProbeRequest) -> tuple[int, bytes]:
        method, content = ("POST", _json(request)) if request.body else ("GET", b"")
        try:
            answer = await http.ask(self._port, method, request.path or "/", content, whole=True)
        except OSError as error:
            raise CheckFailed(f"nothing accepts connections on port {self._port}: {_reason(error)}") from None
        except http.NoAnswer as error:
            raise CheckFailed(str(error)) from None
        return answer.status, bytes(answer.body)

    def close(self) -> None:
        """Each question has its own connection."""


def _json(request: ProbeRequest) -> bytes:
    return msgspec.json.encode(dict(request.body))


async def run_command(argv: Sequence[str], *, env: Mapping[str, str], cwd: str, timeout: float) -> None:
    """Run a health check's command; what is left of its process group when it ends, or when its
    ``timeout`` (seconds) is over, is killed.

    Raises:
        CheckFailed: it did not exit with 0 in time; with the end of its output.
    """
    try:
        reader, output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CheckFailed(f"the command {argv[0]!r} cannot be run: {_reason(error)}") from None
    os.set_blocking(output, True)
    tail = bytearray()
    loop = asyncio.get_running_loop()

    def collect() -> None:
        try:
            data = os.read(reader, 65536)
        except BlockingIOError:
            return
        if not data:
            loop.remove_reader(reader)
        tail.extend(data)
        del tail[:-_OUTPUT_KEPT]

    try:
        try:
            handle = await process.start(argv, env=env, cwd=cwd, output=output, whole_group=True)
        except OSError as error:
            raise CheckFailed(f"the command {argv[0]!r} cannot be run: {_reason(error)}") from None
        finally:
            os.close(output)
        loop.add_reader(reader, collect)
        in_time = await _finish(handle, timeout)
        collect()
    finally:
        loop.remove_reader(reader)
        os.close(reader)
    if in_time and handle.returncode == 0:
        return
    said = tail.decode("utf-8", "replace").strip()
    ended = how_it_ended(handle.returncode or 0) if in_time else f"did not end within {format_duration(timeout)}"
    raise CheckFailed(f"the command {argv[0]!r} {ended}" + (f": {said}" if said else ""))


async def _finish(handle: process.Handle, timeout: float) -> bool:
    """Whether it ended by itself within ``timeout``; killed otherwise."""
    try:
        async with asyncio.timeout(timeout):
            await handle.exited.wait()
        return True
    except TimeoutError:
        return False
    finally:
        handle.kill_group()
        # What even this does not end (a dead disk) is collected by its handle whenever it ends.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_TAKES):
                await handle.exited.wait()


def how_it_ended(code: int) -> str:
    """``1`` → "exited with code 1", ``-9`` → "was killed by SIGKILL"."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
