"""Connections only to hosts that may be reached, by the address that each was made to: what a name stood for before
says nothing of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modelyard.registry.admitting import Hosts

if TYPE_CHECKING:
    import httpx2


def hooks(hosts: Hosts) -> dict[str, list[Callable[[httpx2.Request], None]]]:
    """The event hooks of a client that connects to no others. What a proxy connects to is for the proxy to say: there
    a name is all that can be looked at, before.

    A request then raises what :meth:`Hosts.check_address` does, before anything was sent.
    """
    if not hosts.for_caller:
        return {}

    def watch(request: httpx2.Request) -> None:
        request.extensions = {**request.extensions, "trace": _trace(request, hosts)}

    return {"request": [watch]}


def transport(hosts: Hosts) -> httpx2.BaseTransport | None:
    """As :func:`hooks`, for a client without proxies; None: any will do."""
    if not hosts.for_caller:
        return None
    import httpx2

    class Watched(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            request.extensions = {**request.extensions, "trace": _trace(request, hosts)}
            return super().handle_request(request)

    return Watched()


def _trace(request: httpx2.Request, hosts: Hosts) -> Callable[[str, dict[str, Any]], None]:
    host, asked = request.url.raw_host.decode(), ""

    def trace(event: str, info: dict[str, Any]) -> None:
        nonlocal asked
        if event == "connection.connect_tcp.started":
            asked = str(info["host"])
        elif event == "connection.connect_tcp.complete" and asked == host:
            stream = info["return_value"]
            try:
                hosts.check_address(host, stream.get_extra_info("server_addr")[0])
            except BaseException:
                stream.close()
                raise

    return trace
