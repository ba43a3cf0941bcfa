"""Caches that ask each other before the store: three machines on loopback, each with its own cache and the API's routes
for it, and one origin whose bytes are counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.registry.content import peers
from modelyard.registry.content.cache import Cache, LaidOut
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.peers import Peers
from modelyard.registry.content.storage import Folder
from tests.registry.content.making import checkpoint, contents, pushed
from tests.registry.content.test_fetching import Elsewhere
from tests.registry.served import TOKEN, app_of, bytes_of, running


@dataclass
class Machine:
    """A cache, and what others may read of it. ``peers`` are made once all machines are there."""

    home: Path
    origin: Elsewhere
    url: str = ""
    asked: list[str] = field(default_factory=list)
    app: ASGIApp | None = None
    peers: Peers | None = None

    def lay_out(self, digest: str) -> LaidOut:
        return Cache(self.home / "cache", self.origin, self.peers).lay_out(digest, Layout.EXACT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.asked.append(f"{scope['method']} {scope['path'].rpartition('/')[2]}")
        assert self.app is not None
        await self.app(scope, receive, send)


class Yard:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Folder(home / "store")
        self.folder = home / "v"
        some = {f"a{i}": np.random.default_rng(i).standard_normal(2**19).astype(np.float32) for i in range(9)}
        checkpoint(self.folder / "a.safetensors", some)
        checkpoint(self.folder / "b.safetensors", {"b": np.arange(3 * 2**18, dtype=np.float64)})
        self.digest = pushed(self.folder, self.store).manifest
        self.size = sum(path.stat().st_size for path in self.folder.iterdir())
        self.machines: list[Machine] = []
        self.peers: list[Peers] = []

    def asks(self, machine: Machine, *urls: str) -> Peers:
        machine.peers = Peers(urls, TOKEN)
        self.peers.append(machine.peers)
        return machine.peers

    @property
    def origin_bytes(self) -> int:
        return sum(machine.origin.bytes for machine in self.machines)


@pytest.fixture
def yard(home: Path) -> Iterator[Yard]:
    made = Yard(home)
    with contextlib.ExitStack() as stack:
        for name in ("one", "two", "three"):
            machine = Machine(home / name, Elsewhere(made.store))
            services = bytes_of(machine.origin, Cache(machine.home / "cache", machine.origin))
            machine.app = app_of(services)
            machine.url = stack.enter_context(running(machine)).url
            made.machines.append(machine)
        for machine in made.machines:
            made.asks(machine, *(other.url for other in made.machines if other is not machine))
        yield made
        for one in made.peers:
            one.close()


def whole(machine: Machine, yard: Yard) -> None:
    assert contents(machine.home / "cache" / "laid").keys() != set()
    (folder,) = (machine.home / "cache" / "laid").iterdir()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in yard.folder.iterdir()
    }


def test_three_machines_fetch_a_version_from_the_origin_once(yard: Yard) -> None:
    found = [machine.lay_out(yard.digest) for machine in yard.machines]
    for machine in yard.machines:
        whole(machine, yard)
    assert yard.origin_bytes <= 1.05 * yard.size
    assert [(one.fetched > 0, one.from_peers >= 0.99 * yard.size) for one in found] == [
        (True, False), (False, True), (False, True),
    ]  # fmt: skip
    one, two, three = yard.machines
    assert {"GET", "HEAD"} == {line.split()[0] for line in one.asked}
    assert any(line.startswith("GET") for line in two.asked), "the third has read from both"
    assert three.asked.count(three.asked[0]) <= 2, "each file is asked for once"


def test_machines_that_begin_together_find_some_of_each_others_files(yard: Yard) -> None:
    threads = [threading.Thread(target=machine.lay_out, args=(yard.digest,)) for machine in yard.machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for machine in yard.machines:
        whole(machine, yard)


def test_a_peer_that_lies_is_not_believed_not_asked_again_and_told_of(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    liar, honest = yard.machines[:2]
    liar.lay_out(yard.digest)
    for path in (liar.home / "cache" / "files").glob("*/*"):
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.seek(2**20 + 1234)
            file.write(b"lie")
    yard.asks(honest, liar.url)
    with caplog.at_level(logging.WARNING):
        found = honest.lay_out(yard.digest)
    whole(honest, yard)
    assert found.fetched >= 2**20
    assert 1 <= sum(f"{liar.url} gave bytes that are damaged" in message for message in caplog.messages) <= 8
    asked = len(liar.asked)
    shutil.rmtree(honest.home)
    assert honest.lay_out(yard.digest).from_peers == 0
    assert len(liar.asked) == asked


class Cut:
    """Breaks every answer with bytes after so many of them."""

    def __init__(self, app: ASGIApp, after: int) -> None:
        self._app, self._after = app, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = 0

        async def some(message: Message) -> None:
            nonlocal sent
            sent += len(message.get("body", b""))
            if sent > self._after:
                raise ConnectionError
            await send(message)

        with contextlib.suppress(ConnectionError):
            await self._app(scope, receive, some)


def test_a_peer_that_dies_in_the_middle_costs_no_more_than_what_it_has_not_given(yard: Yard) -> None:
    dying, other = yard.machines[:2]
    dying.lay_out(yard.digest)
    assert dying.app is not None
    dying.app = Cut(dying.app, 3 * 2**20)
    yard.asks(other, dying.url)
    found = other.lay_out(yard.digest)
    whole(other, yard)
    assert found.fetched + found.from_peers <= yard.size


def test_a_slow_peer_is_left_alone(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, other = yard.machines[:2]
    slow.lay_out(yard.digest)
    app = slow.app
    assert app is not None

    async def sleepy(scope: Scope, receive: Receive, send: Send) -> None:
        async def later(message: Message) -> None:
            if scope["method"] == "GET" and message["type"] == "http.response.body":
                await asyncio.sleep(0.3)
            await send(message)

        await app(scope, receive, later)

    slow.app = sleepy
    monkeypatch.setattr(peers, "_SILENCE", 0.1)
    yard.asks(other, slow.url)
    began = time.monotonic()
    assert other.lay_out(yard.digest).from_peers == 0
    whole(other, yard)
    assert time.monotonic() - began < 5
    # Each reader may have asked before the first of them has seen how slow it is.
    assert len([line for line in slow.asked if line.startswith("GET")]) <= 16


def test_peers_that_cannot_be_reached_cost_less_than_half_a_second(yard: Yard) -> None:
    machine = yard.machines[0]
    with contextlib.ExitStack() as stack:
        silent = []
        for _ in range(3):
            # Connections are taken and never answered; the last one takes none.
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            silent.append(f"http://127.0.0.1:{listener.getsockname()[1]}")
        peers_of = yard.asks(machine, *silent, "http://127.0.0.1:1", "http://192.0.2.1:8900")
        began = time.monotonic()
        assert peers_of.read("a" * 64, 0, 10) is None
        assert time.monotonic() - began < 0.5
        began = time.monotonic()
        assert peers_of.read("b" * 64, 0, 10) is None
        assert time.monotonic() - began < 0.01
    assert machine.lay_out(yard.digest).from_peers == 0


def test_a_peer_gives_from_its_store_what_it_has_not_laid_out_and_nothing_to_strangers(home: Path) -> None:
    store = Folder(home / "store")
    checkpoint(home / "v" / "m.safetensors", {"a": np.arange(2**18, dtype=np.float32)})
    digest = pushed(home / "v", store).manifest
    away = Elsewhere(store)
    with running(app_of(bytes_of(store, Cache(home / "empty", store)))) as there:
        found = []
        for token in ("wrong", TOKEN):
            asked = Peers([there.url], token)
            found.append(Cache(home / token, away, asked).lay_out(digest, Layout.TENSORS))
            asked.close()
    assert [(one.fetched, one.from_peers) for one in found] == [(2**20, 0), (0, 2**20)]
