"""The API over the real control plane (SQLite, real worker processes), called in this process."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from modelyard.api.app import create_app
from modelyard.api.context import Services
from modelyard.app.plane import control_plane
from modelyard.settings import Settings
from tests.store.templates import prepare

TOKEN = "token-of-the-tests"


@dataclass
class Api:
    """A caller with the administrator token, and the services behind."""

    http: httpx2.AsyncClient
    services: Services
    home: Path
    app: FastAPI

    async def deploy(self, name: str, spec: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Deploy and wait for the end of the operation."""
        answer = await self.http.post("/api/v1/models", json={"name": name, "spec": spec or {"engine": "mock"}, **more})
        assert answer.status_code in (200, 202), answer.text
        return await self.wait(answer)

    async def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> httpx2.Response:
        return await self.http.post(f"/api/v1{path}", json=body or {}, headers=headers)

    async def get(self, path: str) -> Any:
        answer = await self.http.get(f"/api/v1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def wait(self, answer: httpx2.Response) -> dict[str, Any]:
        assert answer.status_code in (200, 202), answer.text
        waited = await self.http.get(f"/api/v1/operations/{answer.json()['id']}/wait", params={"timeout": "30s"})
        operation = dict(waited.json())
        assert operation["done"], operation
        return operation

    async def patch(self, path: str, body: dict[str, Any], **params: Any) -> httpx2.Response:
        return await self.http.patch(f"/api/v1{path}", json=body, params=params)

    async def until(self, name: str, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The model's status once it is so; fails, saying ``what`` did not happen, after 20 seconds."""
        deadline = time.monotonic() + 20
        while True:
            status = dict(await self.get(f"/models/{name}/status"))
            if holds(status):
                return status
            assert time.monotonic() < deadline, f"not within 20 s: {what}; {status}"
            await asyncio.sleep(0.02)

    async def state(self, name: str) -> str:
        return str((await self.get(f"/models/{name}/status"))["state"])


# Applications that no test uses now: to make one takes a quarter of a second, and nothing of a test is in them but its
# services.
_idle: list[FastAPI] = []


@contextmanager
def _application(services: Services) -> Iterator[FastAPI]:
    app = _idle.pop() if _idle else create_app(None)
    app.state.services = services
    try:
        yield app
    finally:
        app.state.services = None
        _idle.append(app)


@asynccontextmanager
async def serving(home: Path, **more: Any) -> AsyncIterator[Api]:
    # The sources of the tests are on this machine.
    settings = Settings(**{"home": home, "token": TOKEN, "import_hosts": "127.0.0.1", **more})
    async with control_plane(settings) as services:
        with _application(services) as app:
            transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
                yield Api(http, services, home, app)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with in_a_home() as found:
        yield found


@pytest.fixture
async def gpus() -> AsyncIterator[Api]:
    """The same on a machine that says it has two GPUs."""
    async with in_a_home(devices="gpu:2") as found:
        yield found


@asynccontextmanager
async def in_a_home(**more: Any) -> AsyncIterator[Api]:
    home = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    prepare(f"sqlite:///{home}/state.db")
    try:
        async with serving(home, **more) as found:
            yield found
    finally:
        shutil.rmtree(home)
