"""``import`` and ``transfers`` with a real Modelyard: what people and programs see of what the server fetches."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from modelyard.client import AsyncModelyard, Modelyard, TimedOut, TransferFailed
from tests.api.web import Web
from tests.cli.yard import Yard, eventually

CONTENT = b"some weights, as text\n" * 100_000


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web(CONTENT)
    yield made
    made.close()


def test_an_import_shows_each_phase_and_ends_with_a_version(yard: Yard, web: Web) -> None:
    web.hold_after = len(CONTENT) // 2
    importing = yard.begin("import", web.url, "seen@1.0.0", "--alias", "stable", "--metric", "a=0.5", "--reason", "new")
    with Modelyard(home=yard.home) as client:
        eventually(lambda: [t for t in client.transfers.list(model="seen") if t.bytes_done], "some bytes")
    listed = yard.ok("transfers", "list", "--running")
    assert "fetching" in listed
    assert "of 2.1 MiB" in listed
    assert importing.stdout is not None
    output = ""
    while "Fetching seen@1.0.0: " not in output:
        line = importing.stdout.readline()
        assert line, output
        output += line
    web.let_go()
    output += importing.communicate(timeout=30)[0]
    assert importing.returncode == 0, output
    assert "seen@1.0.0 is published" in output
    assert "seen@1.0.0" in yard.ok("transfers", "list", "--model", "seen")
    found = yard.json("transfers", "list", "--model", "seen")[0]
    assert (found["state"], found["reason"]) == ("succeeded", "new")
    assert found["source"] in yard.ok("transfers", "show", found["id"])
    shown = yard.json("registry", "show", "seen@stable")
    assert (shown["version"], shown["metrics"]) == ("1.0.0", {"a": 0.5})
    again = yard.run("import", web.url, "seen@1.0.0")
    assert (again.returncode, "published already" in again.stderr) == (4, True)


def test_an_interrupted_command_leaves_the_import_going_on(yard: Yard, web: Web) -> None:
    web.hold_after = len(CONTENT) // 2
    importing = yard.begin("import", web.url, "left", "--bump", "major")
    with Modelyard(home=yard.home) as client:
        found = eventually(lambda: [t for t in client.transfers.list(model="left") if t.bytes_done], "some bytes")[0]
        importing.send_signal(signal.SIGINT)
        output, _ = importing.communicate(timeout=20)
        assert importing.returncode == 130
        assert f"modelyard transfers watch {found.id}" in output
        assert client.transfers.get(found.id).state == "running"
        with pytest.raises(TimedOut, match="It goes on"):
            client.transfers.wait(found.id, timeout=0.3)
        web.let_go()
        assert "left@1.0.0 is published" in yard.ok("transfers", "watch", found.id)


def test_a_cancelled_import_is_over_at_once(yard: Yard, web: Web) -> None:
    web.hold_after = len(CONTENT) // 2
    begun = yard.json("import", web.url, "ended@1.0.0", "--no-wait")
    watching = yard.begin("transfers", "watch", begun["id"])
    with Modelyard(home=yard.home) as client:
        eventually(lambda: client.transfers.get(begun["id"]).bytes_done, "some bytes")
        clash = yard.run("import", web.url, "ended@1.0.0")
        assert (clash.returncode, "`modelyard transfers list --running` shows it." in clash.stderr) == (4, True)
        assert "is cancelled" in yard.ok("transfers", "cancel", begun["id"])
        assert client.transfers.get(begun["id"]).state == "cancelled"
        output, _ = watching.communicate(timeout=20)
        assert (watching.returncode, "Cancelled by admin." in output) == (1, True)
        eventually(lambda: not (yard.home / "transfers" / begun["id"]).exists(), "its folder to go")
        with pytest.raises(TransferFailed, match="Cancelled"):
            client.transfers.wait(begun["id"])
    assert yard.run("transfers", "show", "tr-none").returncode == 3


async def test_both_clients_see_the_same(yard: Yard, web: Web) -> None:
    async with AsyncModelyard(home=yard.home) as client:
        begun = await client.transfers.import_version(web.url, "awaited", bump="minor", description="so")
        seen: list[str | None] = []
        found = await client.transfers.wait(begun, on_change=lambda now: seen.append(now.phase))
        assert (found.version, seen[-1]) == ("0.1.0", None)
        assert [t.id async for t in client.transfers.list(model="awaited")] == [begun.id]
        assert (await client.transfers.get(begun.id)).manifest == found.manifest


def test_what_is_wrong_with_the_command_is_said_at_once(yard: Yard) -> None:
    for arguments, code, words in (
        (("import", "https://h.invalid/x", "pat"), 2, "Say which version"),
        (("import", "https://h.invalid/x", "pat@1.0.0", "--alias", "latest"), 7, "kept by the registry"),
        (("import", "/etc/passwd", "pat@1.0.0"), 7, "MODELYARD_IMPORT_PATHS"),
    ):
        done = yard.run(*arguments)
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
