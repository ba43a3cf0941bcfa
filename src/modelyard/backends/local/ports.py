"""TCP ports on the loopback address for servers that users bring: each instance has its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

_ASK_AGAIN: Final = 0.05


class PortInUse(Exception):
    """The wanted port cannot be had; the message says whose it is and what to do."""


class Ports:
    """Which ports the instances of one backend have."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    async def take(self, wanted: int | None, *, patience: float, give_up: Callable[[], bool]) -> int:
        """``wanted``, waited for up to ``patience`` seconds while another instance (which may be on its way
        out) has it, or None: any that is free.

        Raises:
            PortInUse: another instance or another program has it.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while wanted in self._taken and loop.time() < until and not give_up():  # noqa: ASYNC110 - bounded and rare
            await asyncio.sleep(_ASK_AGAIN)
        if wanted in self._taken:
            raise PortInUse(
                f"Port {wanted} is another instance's. Leave options.port out: each instance then gets its own."
            )
        try:
            port = _bindable(wanted or 0)
            while port in self._taken:
                port = _bindable(0)
        except OSError as error:
            raise PortInUse(
                f"Port {wanted} cannot be used: {error.strerror}. Free it, or leave options.port out."
            ) from error
        self._taken.add(port)
        return port

    def keep(self, port: int | None) -> None:
        """An adopted instance has it already."""
        if port is not None:
            self._taken.add(port)

    def give_back(self, port: int | None) -> None:
        if port is not None:
            self._taken.discard(port)


def _bindable(port: int) -> int:
    """``port`` if a server could bind it, for 0 one that is free. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that connections of an earlier one that fade away are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])
