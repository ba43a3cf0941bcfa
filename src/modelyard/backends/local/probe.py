"""Questions to an instance: are you who I started, are you ready, are you well?

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
from urllib.parse import quote

from modelyard.backends.local import process
from modelyard.domain.model import Failure
from modelyard.domain.quantities import format_duration
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

    def close(self) -> None: ...


class WorkerProbe:
    """Asks a worker in frames, over one connection that is kept."""

    def __init__(self, socket_path: Path, secret: str) -> None:
        self._path = str(socket_path)
        self._secret = bytes.fromhex(secret)
        self._peer: FramePeer | None = None

    async def prove(self) -> None:
        nonce = secrets.token_bytes(16)
        answer = await self._ask("hello", nonce=nonce.hex())
        proof = hmac.new(self._secret, nonce, hashlib.sha256).hexdigest()
        if answer.status != 200 or not hmac.compare_digest(str(answer.params.get("proof")), proof):
            raise Impostor("what answers on the instance's socket does not know its secret")

    async def ready(self) -> Mapping[str, Any]:
        answer = await self._ask("ready")
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
        answer = await self._ask("health")
        if answer.status != 200:
            raise CheckFailed(f"the worker answered {answer.status} when asked for its health")

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    async def _ask(self, op: str, **params: Any) -> Head:
        try:
            if self._peer is None or self._peer.closed:
                self._peer = await connect(self._path)
            answer, _ = await self._peer.request(Head(op=op, params=params))
        except ConnectionLost:
            raise CheckFailed("the worker closed the connection before it answered") from None
        except OSError as error:
            raise CheckFailed(f"the worker's socket cannot be reached: {error.strerror}") from None
        return answer


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
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError as error:
            raise CheckFailed(f"nothing accepts connections on port {self._port}: {_reason(error)}") from None
        try:
            if self._path is not None:
                await self._get(reader, writer, self._path)
        except OSError as error:
            raise CheckFailed(f"GET {self._path} broke off: {_reason(error)}") from None
        finally:
            # Aborted rather than closed: a peer that never closes its side must not hold ours.
            writer.transport.abort()

    def close(self) -> None:
        """Each question has its own connection."""

    async def _get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        # Quoted, so that nothing in a path can end the request's line.
        target = quote(path, safe="/?&=%:@!$'()*+,;~[]")
        request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nConnection: close\r\nAccept: */*\r\n\r\n"
        writer.write(request.encode())
        try:
            line = await reader.readline()
        except ValueError:
            line = b""
        words = line.split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise CheckFailed(f"GET {path} got no HTTP answer")
        if not 200 <= int(words[1]) < 400:
            raise CheckFailed(f"GET {path} answered {int(words[1])}")


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
