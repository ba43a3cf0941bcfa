"""The record of who did what on the command line and in the SDK, through the front door, with a real Modelyard."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2

from modelyard.client import AsyncModelyard, Modelyard
from tests.cli.yard import Yard


async def test_the_record_is_listed_exported_and_verified_with_a_server_and_without(yard: Yard, tmp_path: Path) -> None:
    token = (yard.home / "admin.token").read_text().strip()
    # What callers claim about their address is not believed.
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "probe/1", "X-Forwarded-For": "203.0.113.9"}
    httpx2.delete(f"{yard.url}/api/v1/models/audited?reason=By+mistake", headers=headers)
    # Through Triton's protocol it is the same caller.
    wish = {"name": "audited-two", "spec": {"engine": "mock"}, "desired": "stopped"}
    assert httpx2.post(f"{yard.url}/api/v1/models", headers=headers, json=wish).status_code == 200
    load = f"{yard.url}/v2/repository/models/audited-two/load"
    assert httpx2.post(load, headers=headers, json={}, timeout=60).status_code == 200
    with Modelyard(yard.url, token) as client:
        newest = next(client.audit.list(target="audited", outcome="refused", search="mistake"))
        assert (newest.actor, newest.action, newest.code) == ("admin", "models.delete", "not_found")
        assert (newest.address, newest.client, newest.namespace) == ("127.0.0.1", "probe/1", "default")
        assert client.audit.get(newest.number) == newest
        loaded = next(client.audit.list(target="audited-two", action="models.start"))
        assert (loaded.actor, loaded.address, loaded.client) == ("admin", "127.0.0.1", "probe/1")
        noted = client.audit.verify().head
    async with AsyncModelyard(yard.url, token) as client:
        assert [e.number async for e in client.audit.list(namespace="default", request=newest.request)] == [
            newest.number
        ]
        lines = [json.loads(line) async for line in client.audit.export(target="audited")]
        assert newest.number in [line["number"] for line in lines]
        assert (await client.audit.get(newest.number)).hash == newest.hash
        assert (await client.audit.verify()).whole

    assert "models.delete" in yard.ok("audit", "list", "--target", "audited")
    shown = yard.ok("audit", "show", str(newest.number))
    assert "By mistake" in shown
    assert "127.0.0.1 probe/1" in shown
    file = tmp_path / "audit.jsonl"
    yard.ok("audit", "export", "--to", str(file))
    assert "are as they were written" in yard.ok("audit", "verify", "--file", str(file), "--head", noted.hash)
    assert yard.json("audit", "verify", "--head", noted.hash)["whole"]
    behind = tmp_path / "behind.jsonl"
    behind.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    assert "They begin with entry 2" in yard.ok("audit", "verify", "--file", str(behind), "--head", noted.hash)
    behind.write_text("")
    assert "There is no entry" in yard.run("audit", "verify", "--file", str(behind)).stderr
    file.write_text(file.read_text().replace("By mistake", "On purpose"))
    done = yard.run("audit", "verify", "--file", str(file))
    assert done.returncode != 0
    assert f"broken at entry {newest.number}: it was changed" in done.stderr
