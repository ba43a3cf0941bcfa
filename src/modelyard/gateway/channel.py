"""The gateway's ear for the control process: routes and who may come in, drains, loads and uses of keys out, as frames
over a Unix socket."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path
from typing import Any, Final

import orjson

from modelyard.access.callers import parse_snapshot
from modelyard.gateway.access import Access, Uses
from modelyard.gateway.routes import InvalidRoute, parse_route
from modelyard.gateway.served import RouteTable
from modelyard.runtime.frames import FramePeer, Head, Respond

log = logging.getLogger(__name__)

_MAX_FRAME: Final = 16 * 2**20


class ChannelServer:
    """Serves ``set_route``, ``remove_route``, ``drained``, ``loads``, ``set_access`` and ``uses`` on ``path`` (mode
    0600)."""

    def __init__(self, path: Path, routes: RouteTable, access: Access, uses: Uses) -> None:
        self._path = path
        self._routes = routes
        self._access = access
        self._uses = uses
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. The socket appears under its name at once with its mode, over that of a dead gateway."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        temporary = self._path.with_name(f".{os.getpid()}.sock")
        temporary.unlink(missing_ok=True)
        listener.bind(str(temporary))
        temporary.chmod(0o600)
        listener.listen(16)
        temporary.rename(self._path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: FramePeer(self._handle, on_cancel=self._cancelled, on_close=self._closed, max_frame=_MAX_FRAME),
            sock=listener,
        )

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _handle(self, peer: FramePeer, stream: int, head: Head, body: memoryview, respond: Respond) -> None:
        try:
            match head.op:
                case "set_route":
                    respond(Head("", 200, self._set_route(head, body)), b"")
                case "remove_route":
                    self._routes.remove(_text(head, "uid"))
                    respond(Head("", 200), b"")
                case "drained":
                    self._drained(head, respond)
                case "set_access":
                    self._set_access(body)
                    respond(Head("", 200), b"")
                case "uses":
                    respond(Head("", 200), orjson.dumps(self._uses.take()))
                case "loads":
                    self._loads(peer, stream, head, respond)
                case _:
                    raise InvalidRoute(f"there is no operation {head.op!r}")
        except InvalidRoute as error:
            log.warning("%s from the control process refused: %s", head.op, error)
            respond(Head("", 400, {"code": "invalid_request", "message": str(error)}), b"")

    def _set_route(self, head: Head, body: memoryview) -> dict[str, Any]:
        watch = _texts(head, "watch")
        model = self._routes.set(parse_route(body))
        return {"in_flight": model.in_flight(watch), "report": model.report}

    def _set_access(self, body: memoryview) -> None:
        try:
            self._access.replace(parse_snapshot(body))
        except ValueError as error:
            raise InvalidRoute(str(error)) from None

    def _drained(self, head: Head, respond: Respond) -> None:
        model = self._routes.find_uid(_text(head, "uid"))
        if model is None:
            respond(Head("", 200, {"report": {"finished": 0, "refused": 0, "cut": 0}}), b"")
        else:
            model.when_drained(
                _texts(head, "instances"), lambda report: respond(Head("", 200, {"report": report}), b"")
            )

    def _loads(self, peer: FramePeer, stream: int, head: Head, respond: Respond) -> None:
        """The answer is JSON in the body: ten thousand models are too many for a head."""
        since = head.params.get("since")
        if not isinstance(since, int):
            raise InvalidRoute("since must be a number")
        self._routes.loads.poll(
            (peer, stream), _text(head, "gateway"), since,
            lambda report: respond(Head("", 200), orjson.dumps(report)),
        )  # fmt: skip

    def _cancelled(self, peer: FramePeer, stream: int) -> None:
        self._routes.loads.drop(peer, stream)

    def _closed(self, peer: FramePeer) -> None:
        self._routes.loads.drop(peer)


def _text(head: Head, name: str) -> str:
    value = head.params.get(name)
    if not isinstance(value, str):
        raise InvalidRoute(f"{name} must be text")
    return value


def _texts(head: Head, name: str) -> tuple[str, ...]:
    value = head.params.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRoute(f"{name} must be a list of texts")
    return tuple(value)
