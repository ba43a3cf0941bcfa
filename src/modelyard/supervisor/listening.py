"""The sockets that the supervisor binds and hands on, so that they outlive those who serve them."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from pathlib import Path

_BACKLOG = 2048


class CannotStart(Exception):
    """``code`` is stable: ``already_running``, ``port_in_use``, ``cannot_listen``, ``token_needed`` or
    ``home_unusable``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotStart("cannot_listen", f"Cannot listen on {host}: {error.strerror}.") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotStart("port_in_use", f"Port {port} on {host} is in use by another program.") from error
        raise CannotStart("cannot_listen", f"Cannot listen on {host} port {port}: {error.strerror}.") from error
    return listener


def listen_on_path(path: Path) -> socket.socket:
    """The control processes' socket, in place of one that an earlier supervisor has left."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(fresh))
    fresh.chmod(0o600)
    listener.listen(_BACKLOG)
    fresh.rename(path)
    return listener


def url_of(host: str, port: int, *, secure: bool = False) -> str:
    """Where this machine reaches it: every address includes loopback."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
