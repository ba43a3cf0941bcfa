"""A process whose files may not grow any more: a full disk for those who may not mount a small one."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from modelyard.control.ports import EventQuery
from modelyard.domain import commands
from modelyard.domain.errors import Unavailable
from modelyard.store import SqlStore
from tests.store.changes import after, asked, created


async def main(path: str) -> None:
    store = await SqlStore.open(f"sqlite:///{path}")
    model = await created(store)
    limit = max(Path(path).stat().st_size, Path(f"{path}-wal").stat().st_size) + 20_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        while True:
            model = after(await store.commit(commands.restart(model, asked())))
    except Unavailable as error:
        print(error)
    assert await store.get_model("default", "m") == model
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    model = after(await store.commit(commands.restart(model, asked())))
    assert await store.get_model("default", "m") == model
    events = (await store.list_events(EventQuery(model_uid=model.uid, page_size=1000))).items
    assert len(events) == model.version
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
