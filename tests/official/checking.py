"""Runs a script's checks, one after the other; for the environment of the official clients, which has no pytest."""

import asyncio
import inspect
import json
import sys
import traceback
from types import SimpleNamespace


def main() -> None:
    """Run what the script defines and does not begin with an underscore. Ends with how many failed."""
    server = SimpleNamespace(**json.loads(sys.argv[1]))
    script = sys.modules["__main__"]
    failed = 0
    for name, check in vars(script).items():
        if name.startswith("_") or not inspect.isfunction(check) or check.__module__ != "__main__":
            continue
        try:
            done = check(server)
            if inspect.iscoroutine(done):
                asyncio.run(done)
        except BaseException:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}")
        else:
            print(f"passed {name}")
    sys.exit(failed)


def raises(kind, call, *arguments, **named):
    """The error that the call raises."""
    try:
        call(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError("nothing was raised")


async def raises_async(kind, awaitable):
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError("nothing was raised")
