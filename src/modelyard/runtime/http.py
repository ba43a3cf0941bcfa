"""One model over HTTP, without a gateway: a plain ASGI application of the Open Inference Protocol V2.

::

    app.mount("/models", modelyard.runtime.http.create_app("digits/model.onnx", name="digits"))

or, as a server of its own, ``python -m modelyard.runtime --model digits/model.onnx``. There is no access
control here; that is the gateway's matter.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

import orjson

from modelyard import __version__
from modelyard.domain.spec import ENGINE_OF_SUFFIX
from modelyard.runtime import engines, v2
from modelyard.runtime.calls import Answer, Call
from modelyard.runtime.dataplane import DataPlane, problem_answer
from modelyard.runtime.engines.base import LoadOptions, Model
from modelyard.runtime.errors import LoadFailure, RequestError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_VERSION: Final = "1"
_MAX_BODY: Final = 64 * 2**20
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER_LENGTH: Final = b"inference-header-content-length"


def create_app(
    model: Path | str,
    *,
    engine: str | None = None,
    name: str | None = None,
    trusted: bool = False,
    options: dict[str, Any] | None = None,
    max_body: int = _MAX_BODY,
) -> Application:
    """Load the model at the path ``model`` and return the application that serves it. ``engine`` and ``name``
    are told by the path if not given; ``options`` are the engine's; ``max_body`` in bytes.

    Raises:
        LoadFailure: if the model cannot be served.
    """
    path = Path(model).absolute()
    name = name or (path.parent.name if path.stem == "model" else path.stem)
    if _NAME.fullmatch(name) is None:
        raise LoadFailure("invalid_name", f"{name!r} is no name for a model: letters, digits, '.', '_' and '-'.")
    threads = len(os.sched_getaffinity(0))
    loaded = engines.load(engine or _engine_of(path), LoadOptions(path, options or {}, trusted, threads))
    return Application(loaded, name, max_body)


def _engine_of(path: Path) -> str:
    if path.is_dir():
        return "python"
    engine = ENGINE_OF_SUFFIX.get(path.suffix.lower())
    if engine is None:
        known = ", ".join(ENGINE_OF_SUFFIX)
        raise LoadFailure("unknown_engine", f"{path} has none of the suffixes {known}: name the engine (--engine).")
    return engine.value


class Application:
    """An ASGI application that serves one loaded model."""

    def __init__(self, model: Model, name: str, max_body: int) -> None:
        self.name = name
        self._model = model
        self._max_body = max_body
        self._plane: DataPlane | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served here, not {scope['type']}")
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"")
        if _REQUEST_ID.fullmatch(request_id) is None:
            request_id = uuid.uuid4().hex.encode()
        try:
            answer = await self._answer(scope, headers, request_id.decode(), receive)
        except RequestError as error:
            answer = problem_answer(error, request_id.decode(), scope["path"])
        except _Disconnected:
            return
        await _send(answer, request_id, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                if self._plane is not None:
                    self._plane.close()
                return

    @property
    def plane(self) -> DataPlane:
        # Made on the loop that serves: a mounted application sees no lifespan event.
        if self._plane is None:
            self._plane = DataPlane(
                self._model,
                name=self.name,
                version=_VERSION,
                loop=asyncio.get_running_loop(),
            )
        return self._plane

    # ---------------------------------------------------------------- routes

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], request_id: str, receive: Receive) -> Answer:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        words = path.strip("/").split("/")
        method: str = scope["method"]
        if words[-1] == "infer" and words[:2] == ["v2", "models"]:
            _require(method, "POST")
            call = await self._call(scope, headers, request_id, receive)
            call.version = self._version(words[:-1])
            return await self.plane.infer(call)
        answer = self._information(words)
        _require(method, "GET", "HEAD")
        return _json(answer)

    def _information(self, words: list[str]) -> dict[str, Any]:
        match words:
            case ["v2"]:
                return {"name": "modelyard", "version": __version__, "extensions": ["binary_tensor_data"]}
            case ["v2", "health", "live"]:
                return {"live": True}
            case ["v2", "health", "ready"]:
                return {"ready": True}
            case ["v2", "models", _, "versions", _, "ready"] | ["v2", "models", _, "ready"]:
                self._version(words[:-1])
                return {"name": self.name, "ready": True}
            case ["v2", "models", _, "versions", _] | ["v2", "models", _]:
                self._version(words)
                return {"name": self.name, **self.plane.metadata}
        raise RequestError(404, "not_found", f"There is nothing here; the model is at /v2/models/{self.name}.")

    def _version(self, words: list[str]) -> str:
        """The version that ``v2/models/{name}[/versions/{version}]`` names, empty if none."""
        match words:
            case ["v2", "models", self.name]:
                return ""
            case ["v2", "models", self.name, "versions", version]:
                if version != _VERSION:
                    raise RequestError(404, "version_not_found", f"Only version {_VERSION!r} is served here.")
                return version
        raise RequestError(404, "model_not_found", f"The only model here is {self.name!r}: /v2/models/{self.name}.")

    async def _call(self, scope: Scope, headers: dict[bytes, bytes], request_id: str, receive: Receive) -> Call:
        length = headers.get(_HEADER_LENGTH)
        if length is not None and not length.isdigit():
            raise RequestError(
                400, "invalid_header_length", "Inference-Header-Content-Length must be a number of bytes."
            )
        return Call(
            await self._body(receive),
            headers.get(b"content-type", b"").decode("latin-1"),
            int(length) if length is not None else None,
            request_id=request_id,
            path=scope["path"],
        )

    async def _body(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Disconnected
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body:
                raise RequestError(413, "body_too_large", f"At most {self._max_body} bytes of body are accepted.")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class _Disconnected(Exception):
    """The caller went away; there is nobody to answer."""


def _require(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise RequestError(405, "method_not_allowed", f"{method} is not allowed here; {' or '.join(allowed)} is.")


def _json(value: dict[str, Any]) -> Answer:
    return Answer(200, orjson.dumps(value), v2.JSON_TYPE)


async def _send(answer: Answer, request_id: bytes, send: Send) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id),
    ]
    if answer.header_length is not None:
        headers.append((_HEADER_LENGTH, str(answer.header_length).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


# ------------------------------------------------------------------ a server of its own


def serve(app: Application, host: str, port: int) -> int:
    """Serve ``app`` until interrupted. Returns the process's exit code."""
    import uvicorn

    config = uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False, lifespan="on")
    try:
        listening = _listen(host, port)
    except OSError as error:
        print(f"{host}:{port} cannot be bound: {error.strerror}. Choose another --port.", file=sys.stderr)  # noqa: T201
        return 1
    address = listening.getsockname()
    url = f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"
    print(  # noqa: T201 - it is this program's output
        f"{app.name} is served at {url}/v2/models/{app.name}\n"
        f"  ready?    {url}/v2/models/{app.name}/ready\n"
        f"  predict:  POST {url}/v2/models/{app.name}/infer   (Ctrl-C ends)",
        flush=True,
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    listening.set_inheritable(True)
    return listening
