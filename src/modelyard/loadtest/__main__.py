"""A process that makes load: its plan and then the moment to begin come by standard input, what it found goes to
standard output, a line of JSON each. When standard input ends, so does the load."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
from typing import Any, Final

import uvloop

from modelyard.loadtest.generator import Generator, generator
from modelyard.loadtest.plan import Failed, Message, Plan, Ready, Told, decode_plan, encode

_STDIN: Final = 0
# Files that are open beside the connections.
_OTHERS: Final = 64


def main() -> None:
    """Make the load that is asked for."""
    line = sys.stdin.buffer.readline()
    if not line:
        return
    plan = decode_plan(line)
    _allow(plan.connections + _OTHERS)
    # A collector that stops the process would be measured as the server's latency, and there is little to collect.
    gc.disable()
    uvloop.run(_run(plan))


async def _run(plan: Plan) -> None:
    asyncio.get_running_loop().set_exception_handler(_die)
    load = generator(plan, lambda each: _say(Told(each)))
    try:
        await load.connect()
    except (OSError, TimeoutError) as error:
        _say(Failed(str(error) or "Connecting took too long."))
        return
    begin = _orders(load)
    _say(Ready())
    moment = await begin
    if moment is not None:
        _say(await load.run(moment))


def _die(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A fault of ours must not pass for the server's silence."""
    loop.default_exception_handler(context)
    os._exit(1)


def _orders(load: Generator) -> asyncio.Future[int | None]:
    """The moment to begin, or None when whoever ordered the load is gone; also ends the load once that is so."""
    loop = asyncio.get_running_loop()
    begin: asyncio.Future[int | None] = loop.create_future()
    line = bytearray()

    def on_input() -> None:
        piece = os.read(_STDIN, 64)
        line.extend(piece)
        if not piece:
            loop.remove_reader(_STDIN)
            load.stop()
            if not begin.done():
                begin.set_result(None)
        elif line.endswith(b"\n") and not begin.done():
            begin.set_result(int(line))

    loop.add_reader(_STDIN, on_input)
    return begin


def _allow(files: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (files if hard == resource.RLIM_INFINITY else min(files, hard), hard)
        )


def _say(message: Message) -> None:
    try:
        sys.stdout.buffer.write(encode(message) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Nobody listens any more, nor would to a farewell.
        os._exit(1)


if __name__ == "__main__":
    main()
