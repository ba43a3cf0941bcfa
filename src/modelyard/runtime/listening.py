"""A server of its own for :mod:`modelyard.runtime.http`'s application: where it listens, and what it says of that."""

from __future__ import annotations

import socket
import sys

from modelyard.runtime.http import Application


def serve(app: Application, host: str, port: int) -> int:
    """Serve ``app`` until interrupted. Returns the process's exit code."""
    import uvicorn

    config = uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False, lifespan="on")
    try:
        listening = listen(host, port)
    except OSError as error:
        print(f"{host}:{port} cannot be bound: {error.strerror}. Choose another --port.", file=sys.stderr)  # noqa: T201
        return 1
    url = url_of(listening)
    print(  # noqa: T201 - it is this program's output
        f"{app.name} is served at {url}/v2/models/{app.name}\n"
        f"  ready?    {url}/v2/models/{app.name}/ready\n"
        f"  predict:  POST {url}/v2/models/{app.name}/infer   (Ctrl-C ends)",
        flush=True,
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: it cannot be bound
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    # What it accepts has this too: an answer in two writes would else wait for the client's delayed ACK, 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.set_inheritable(True)
    return listening


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
