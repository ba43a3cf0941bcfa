"""``python -m modelyard.runtime --instance DIR``: one instance, served over frames on an inherited socket.

The model loads in a thread while the event loop already answers; ``ready`` waits for it. SIGTERM refuses
new requests, finishes what is in flight and ends the process; a second one ends it at once.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec
import uvloop

from modelyard.runtime import record
from modelyard.runtime.calls import V2, Answer, Call
from modelyard.runtime.errors import EXIT_LOAD_FAILURE, LoadFailure, RequestError, is_out_of_memory, out_of_memory
from modelyard.runtime.frames import FramePeer, Head, NotSent, Respond, pack
from modelyard.runtime.instance import Instance, proof

if TYPE_CHECKING:
    from modelyard.runtime.dataplane import DataPlane

SOCKET_VARIABLE: Final = "MODELYARD_SOCKET_FD"
# How long a worker whose model failed waits for somebody to ask why, and an ending one for its last
# answers to be read.
_LINGER_SECONDS: Final = 1.0

_log = logging.getLogger("modelyard.runtime")
_json = msgspec.json.Encoder().encode

_DRAINING: Final = RequestError(503, "draining", "This instance is ending and takes no new requests.")
_LOADING: Final = RequestError(503, "loading", "This instance is still loading its model.")
# As a shell reports an end by SIGTERM.
_EXIT_TERMINATED: Final = 128 + signal.SIGTERM


def run(folder: Path, instance: Instance) -> NoReturn:
    """Serve until told to end; ends the process."""
    _set_up_logging()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        code = loop.run_until_complete(Worker(folder, instance, loop).serve(int(os.environ[SOCKET_VARIABLE])))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failure = out_of_memory(instance.resources.memory, "Starting the worker")
        _log.error("%s (%r)", failure.message, error)
        record.write_failure(folder, failure)
        code = EXIT_LOAD_FAILURE
    _exit(code)


def _set_up_logging() -> None:
    # The log is a file; without this a model's print() would show in it only when a block is full.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


def _exit(code: int) -> NoReturn:
    """End without waiting for threads: what they still compute has nobody left to read it."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Worker:
    """One instance's process: its connections, its model once loaded, and what is in flight."""

    def __init__(self, folder: Path, instance: Instance, loop: asyncio.AbstractEventLoop) -> None:
        self._folder = folder
        self._instance = instance
        self._loop = loop
        self._peers: set[FramePeer] = set()
        # What is in flight, by connection and stream, and how to take it back.
        self._running: dict[tuple[FramePeer, int], Callable[[], object] | None] = {}
        self._asking_ready: list[Respond] = []
        self._plane: DataPlane | None = None
        self._failure: LoadFailure | None = None
        self._draining = False
        self._ended: asyncio.Future[int] = loop.create_future()
        self._all_closed: asyncio.Future[None] | None = None
        self._operations = {
            "hello": self._hello,
            "ready": self._ready,
            "health": self._health,
            "metadata": self._metadata,
        }

    async def serve(self, fd: int) -> int:
        """Serve on the listening socket ``fd`` until the worker ends. Returns the process's exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._terminate)
        listening = socket.socket(fileno=fd)
        listening.setblocking(False)
        server = await self._loop.create_unix_server(self._connection, sock=listening)
        threading.Thread(target=self._load, name="load", daemon=True).start()
        code = await self._ended
        server.close()
        await self._close_peers()
        return code

    def _connection(self) -> FramePeer:
        peer = FramePeer(self._handle, on_cancel=self._cancel, on_close=self._closed, on_read=self._flush)
        self._peers.add(peer)
        return peer

    async def _close_peers(self) -> None:
        """Have the last answers leave; a peer that does not read them is not waited for long."""
        for peer in self._peers:
            peer.close()
        if self._peers:
            self._all_closed = self._loop.create_future()
            await asyncio.wait([self._all_closed], timeout=_LINGER_SECONDS)

    # ---------------------------------------------------------------- the model

    def _load(self) -> None:
        """In its own thread: load the model and tell the loop."""
        try:
            outcome: DataPlane | LoadFailure = _load(self._instance, self._loop)
        except LoadFailure as failure:
            outcome = failure
        except BaseException as error:
            _log.exception("loading failed")
            outcome = LoadFailure("load_failed", f"The model cannot be loaded: {error!r}", permanent=False)
        self._loop.call_soon_threadsafe(self._loaded, outcome)

    def _loaded(self, outcome: DataPlane | LoadFailure) -> None:
        if isinstance(outcome, LoadFailure):
            self._fail(outcome)
            return
        self._plane = outcome
        # All that is alive now stays: collections need not look at it again.
        gc.freeze()
        gc.enable()
        instance = self._instance
        _log.info("ready: %s, generation %d, engine %s", instance.model, instance.generation, instance.engine)
        asking, self._asking_ready = self._asking_ready, []
        for respond in asking:
            self._answer_ready(respond)

    def _fail(self, failure: LoadFailure) -> None:
        self._failure = failure
        record.write_failure(self._folder, failure)
        _log.error("%s: %s", failure.code, failure.message)
        asking, self._asking_ready = self._asking_ready, []
        for respond in asking:
            self._answer_ready(respond)
        self._loop.call_later(0 if asking else _LINGER_SECONDS, self._end, EXIT_LOAD_FAILURE)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _terminate(self) -> None:
        if self._draining:
            os._exit(_EXIT_TERMINATED)
        _log.info("ending: %d requests in flight", len(self._running))
        self._draining = True
        asking, self._asking_ready = self._asking_ready, []
        for respond in asking:
            respond(Head(status=503), _json(_DRAINING.as_problem()))
        self._end_when_idle()

    def _end_when_idle(self) -> None:
        if self._draining and not self._running:
            self._end(0)

    # ---------------------------------------------------------------- operations

    def _handle(self, peer: FramePeer, stream: int, head: Head, body: memoryview, respond: Respond) -> None:
        if head.op == "infer":
            self._infer(peer, stream, head, body, respond)
            return
        operation = self._operations.get(head.op)
        if operation is None:
            error = RequestError(404, "unknown_operation", f"A worker has no operation {head.op!r}.")
            respond(Head(status=error.status), _json(error.as_problem()))
            return
        operation(head, respond)

    def _hello(self, head: Head, respond: Respond) -> None:
        try:
            proven = proof(self._instance.secret, str(head.params.get("nonce", "")))
        except ValueError:
            error = RequestError(400, "invalid_nonce", "hello needs a nonce in hex.")
            respond(Head(status=400), _json(error.as_problem()))
            return
        respond(Head(status=200, params={"instance": self._instance.instance, "pid": os.getpid(), "proof": proven}))

    def _health(self, head: Head, respond: Respond) -> None:
        respond(Head(status=200))

    def _ready(self, head: Head, respond: Respond) -> None:
        if self._plane is None and self._failure is None:
            self._asking_ready.append(respond)
            return
        self._answer_ready(respond)
        if self._failure is not None:
            self._loop.call_soon(self._end, EXIT_LOAD_FAILURE)

    def _answer_ready(self, respond: Respond) -> None:
        if self._failure is not None:
            respond(Head(status=500, params=self._failure.as_dict()))
        else:
            assert self._plane is not None
            respond(Head(status=200, params={"metadata": self._plane.metadata}))

    def _metadata(self, head: Head, respond: Respond) -> None:
        if self._plane is None:
            respond(Head(status=503), _json(_LOADING.as_problem()))
        else:
            respond(Head(status=200, params={"metadata": self._plane.metadata}))

    def _infer(self, peer: FramePeer, stream: int, head: Head, body: memoryview, respond: Respond) -> None:
        params = head.params
        if self._plane is None or self._draining:
            error = _DRAINING if self._draining else _LOADING
            problem = error.as_problem(_text(params.get("id")), _text(params.get("path")))
            # Says by itself, not by its text, which a model's own error may have too, that nothing was begun.
            head = Head(
                status=error.status, params={"content_type": "application/problem+json", "draining": self._draining}
            )
            respond(head, _json(problem))
            return
        key = (peer, stream)
        self._running[key] = None
        call = _call(body, params)
        part = partial(_part, peer, respond) if call.stream else None
        take_back = self._plane.submit(call, partial(self._done, key, respond), part)
        if take_back is not None:
            self._running[key] = take_back

    def _flush(self) -> None:
        if self._plane is not None:
            self._plane.flush()

    def _done(self, key: tuple[FramePeer, int], respond: Respond, answer: Answer) -> None:
        self._running.pop(key, None)
        respond.packed(_head(answer.status, answer.content_type, answer.header_length), answer.body)
        if self._draining:
            self._end_when_idle()

    def _cancel(self, peer: FramePeer, stream: int) -> None:
        take_back = self._running.pop((peer, stream), None)
        if take_back is not None:
            take_back()
        self._end_when_idle()

    def _closed(self, peer: FramePeer) -> None:
        self._peers.discard(peer)
        for key in [key for key in self._running if key[0] is peer]:
            self._cancel(*key)
        if not self._peers and self._all_closed is not None and not self._all_closed.done():
            self._all_closed.set_result(None)


@lru_cache(256)
def _head(status: int, content_type: str, header_length: int | None) -> bytes:
    """An answer's head, packed: most answers have the same."""
    params: dict[str, Any] = {"content_type": content_type}
    if header_length is not None:
        params["header_length"] = header_length
    return pack(Head(status=status, params=params))


def _part(peer: FramePeer, respond: Respond, answer: Answer) -> Awaitable[None] | None:
    respond.part(Head(status=answer.status, params={"content_type": answer.content_type}), answer.body)
    return None if peer.open else _until_read(peer)


async def _until_read(peer: FramePeer) -> None:
    # Of a connection that has ended the requests are taken back.
    with contextlib.suppress(NotSent):
        await peer.writable()


def _call(body: memoryview, params: dict[str, Any]) -> Call:
    """A frame's infer request. ``params`` repeat what a caller's headers said: their types are not certain."""
    get = params.get
    length, max_body = get("header_length"), get("max_body")
    return Call(
        body,
        str(get("content_type") or ""),
        length if isinstance(length, int) else None,
        str(get("version") or ""),
        _text(get("id")),
        _text(get("path")),
        str(get("form") or V2),
        str(get("encoding") or ""),
        max_body if isinstance(max_body, int) else 0,
        get("stream") is True,
    )


def _text(value: object) -> str | None:
    return value if value is None or type(value) is str else str(value)


def _load(instance: Instance, loop: asyncio.AbstractEventLoop) -> DataPlane:
    # Imported here, in the loading thread: numpy and the engine are most of a start's time, and the socket
    # should be answered meanwhile.
    from modelyard.runtime import engines
    from modelyard.runtime.dataplane import DataPlane
    from modelyard.runtime.engines.base import LoadOptions

    options = LoadOptions(
        Path(instance.source) if instance.source is not None else None,
        instance.options,
        instance.trusted,
        instance.threads,
        instance.resources.memory,
    )
    return DataPlane(
        engines.load(instance.engine, options),
        name=instance.model,
        version=str(instance.generation),
        loop=loop,
        flushed=True,
    )
