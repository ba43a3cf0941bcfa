"""What a control process that only stands by can tell of instances that another one drives."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from modelyard.backends.local.backend import LocalBackend
from modelyard.control.delegates import Shown
from modelyard.domain.commands import Change
from modelyard.domain.model import Instance, InstancePhase, Target
from modelyard.settings import Settings
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, after, creation


async def test_logs_are_followed_until_the_status_is_without_the_instance(postgres_url: str, home: Path) -> None:
    store = await SqlStore.open(postgres_url)
    instance = Instance(id="i1", target=Target(1), phase=InstancePhase.READY, address="", since=EPOCH)
    change = creation("m")
    made = replace(after(change), site="here")
    made = replace(made, status=replace(made.status, instances=(instance,)))
    model = after(await store.commit(replace(change, after=made)))
    settings = Settings(home=home)
    # Never opened: the one who drives has done that.
    backend = LocalBackend(settings)
    log = settings.logs_dir / "instances" / "default" / "m" / model.uid / "i1.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\n")
    shown = Shown(lambda: backend, store, store, "here", lambda: False)
    lines = shown.logs(model.ref, "i1", follow=True, tail=10)
    async with asyncio.timeout(20):
        assert (await anext(lines)).text == "one"
        # Longer than between two looks at the status.
        await asyncio.sleep(1.5)
        with log.open("a") as file:
            file.write("two\n")
        assert (await anext(lines)).text == "two"
        gone = replace(model, status=replace(model.status, instances=()))
        await store.commit(Change(before=model, after=gone))
        assert [line.text async for line in lines] == []
    await store.close()
