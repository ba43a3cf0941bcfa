"""A control process on the home that it is given, asked for changes by several callers at once, until it is killed. It
says the id of each request that was answered."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from tests.api.conftest import Api, serving


async def caller(api: Api, name: str) -> None:
    async def ask(method: str, path: str, body: object = None) -> None:
        nonlocal number
        number += 1
        sent = {"X-Request-ID": f"{name}-{number}"}
        answer = await api.http.request(method, f"/api/v1{path}", json=body, headers=sent)
        assert answer.status_code < 300, answer.text
        print(sent["X-Request-ID"], flush=True)

    number = 0
    await ask("POST", "/models", {"name": name, "spec": {"engine": "mock"}, "desired": "stopped"})
    for turn in count():
        await ask("PATCH", f"/models/{name}", {"spec": {"description": f"turn {turn}"}})
        await ask("PUT", f"/namespaces/default/members/{name}@example.com", {"role": ("viewer", "editor")[turn % 2]})
        await ask("POST", f"/models/{name}/redeploy", {})


async def main(home: Path) -> None:
    async with serving(home) as api:
        await asyncio.gather(*(caller(api, f"m{number}") for number in range(4)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
