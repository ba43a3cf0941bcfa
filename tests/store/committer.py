"""A process that commits as fast as it can and says which version it has written, until it is killed."""

from __future__ import annotations

import asyncio
import secrets
import sys
from dataclasses import replace

from modelyard.domain import commands
from modelyard.store import SqlStore
from tests.store.changes import after, asked


async def main(url: str) -> None:
    store = await SqlStore.open(url)
    model = await store.get_model("default", "m")
    assert model is not None
    while True:
        change = commands.restart(model, replace(asked(), operation_id=secrets.token_hex(8)))
        event = replace(change.events[0], data={"version": model.version + 1})
        model = after(await store.commit(replace(change, events=(event,))))
        print(model.version, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
