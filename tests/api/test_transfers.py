"""Imports and transfers over HTTP: what is refused at once, what is watched, what is cancelled."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelyard.registry import admitting
from tests.api.conftest import Api, serving
from tests.api.web import Web

FILES = "/registry/models/pat/imports"


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web(b"some weights, as text\n" * 50_000)
    yield made
    made.close()


@pytest.fixture
async def files() -> AsyncIterator[tuple[Api, Path]]:
    """An API that may read files below a folder, and the folder."""
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder:
        allowed = Path(folder, "allowed")
        allowed.mkdir()
        async with serving(Path(folder, "home"), import_paths=f"{folder}/none:{allowed}") as api:
            yield api, allowed


async def over(api: Api, answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/v1/registry/transfers/{answer.json()['id']}"
    found = dict(await api.get(f"/registry/transfers/{answer.json()['id']}/wait?timeout=20s"))
    assert found["done"], found
    return found


async def test_a_file_of_a_web_server_becomes_a_version(api: Api, web: Web) -> None:
    body = {
        "source": web.url, "version": "1.0.0", "aliases": ["stable"], "metrics": {"accuracy": 0.5}, "reason": "why not",
    }  # fmt: skip
    found = await over(api, await api.post(FILES, body))
    assert (found["state"], found["version"], found["attempt"]) == ("succeeded", "1.0.0", 1)
    assert (found["actor"], found["reason"]) == ("admin", "why not")
    version = await api.get("/registry/models/pat/resolve?pick=stable")
    assert version["manifest"] == found["manifest"]
    assert version["metrics"] == {"accuracy": 0.5}
    assert version["lineage"]["source"].startswith(web.url)
    files = await api.get("/registry/models/pat/versions/1.0.0/files")
    assert [(f["path"], f["size"]) for f in files["items"]] == [("weights.txt", len(web.content))]
    listed = await api.get("/registry/transfers?done=true&model=pat")
    assert [one["id"] for one in listed["items"]] == [found["id"]]
    while list((api.home / "transfers").iterdir()):
        await asyncio.sleep(0.01)


async def test_progress_is_seen_and_a_cancelled_import_publishes_nothing(api: Api, web: Web) -> None:
    web.hold_after = len(web.content) // 2
    begun = (await api.post(FILES, {"source": web.url, "bump": "major"})).json()
    path = f"/registry/transfers/{begun['id']}"
    while (found := await api.get(f"{path}/wait?timeout=300ms"))["bytes_done"] == 0:
        assert not found["done"], found
    assert (found["state"], found["phase"], found["bytes_total"]) == ("running", "fetching", len(web.content))
    assert 0 < found["bytes_done"] < len(web.content)
    cancelled = await api.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"], cancelled.json()["done"]) == (200, "cancelled", True)
    assert cancelled.json()["error"]["code"] == "cancelled"
    assert (await api.http.get("/api/v1/registry/models/pat")).status_code == 404


async def test_a_repeated_request_is_carried_out_once(api: Api, web: Web) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"source": web.url, "version": "1.0.0"}
    first = await api.post(FILES, body, **headers)
    found = await over(api, first)
    again = await api.post(FILES, body, **headers)
    assert (again.status_code, again.json()["id"]) == (200, found["id"])
    other = await api.post(FILES, {**body, "version": "2.0.0"}, **headers)
    assert other.json()["code"] == "idempotency_mismatch"
    assert (await api.post(FILES, body)).json()["code"] == "version_exists"


async def test_what_the_server_does_not_fetch_for_anybody(api: Api) -> None:
    for source, code in (
        ("ftp://host/file", "invalid_source"),
        ("https://user:hunter2@host/file", "invalid_source"),
        ("https://host.invalid/file?X-Amz-Signature=hunter2", "source_refused"),
        ("http://169.254.169.254/latest/meta-data/iam", "source_refused"),
        ("http://[fe80::1]/file", "source_refused"),
        ("http://[::ffff:169.254.169.254]/file", "source_refused"),
        ("http://[fd00:ec2::254]/latest", "source_refused"),
        ("oci://169.254.169.254/a/b:c", "source_refused"),
        ("registry://169.254.169.254:80/a@1.0.0", "source_refused"),
        ("file:///etc/passwd", "source_refused"),
        ("/etc/passwd", "source_refused"),
        ("relative/file", "source_refused"),
    ):
        refused = await api.post(FILES, {"source": source, "version": "1.0.0"})
        assert refused.status_code == 422
        assert [(e["path"], e["code"]) for e in refused.json()["errors"]] == [("source", code)], refused.text
        assert "hunter2" not in refused.text
    assert not (await api.get("/registry/transfers"))["items"]


async def test_a_name_that_means_a_link_local_address_is_refused(monkeypatch: pytest.MonkeyPatch, api: Api) -> None:
    monkeypatch.setattr(admitting, "resolve", lambda host: ["93.184.216.34", "169.254.169.254"])
    refused = await api.post(FILES, {"source": "https://metadata.example/x", "version": "1.0.0"})
    assert [e["code"] for e in refused.json()["errors"]] == ["source_refused"]
    assert "link-local address (169.254.169.254)" in refused.text


async def test_this_machine_is_reached_only_where_the_administrator_names_it(web: Web) -> None:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder:
        async with serving(Path(folder), import_hosts="store.example") as api:
            for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"):
                refused = await api.post(FILES, {"source": web.url.replace("127.0.0.1", host), "version": "1.0.0"})
                assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "source_refused"), host
                assert "MODELYARD_IMPORT_HOSTS" in refused.text
        assert web.given == 0


async def test_a_name_that_means_this_machine_by_the_time_it_is_connected_to_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, web: Web
) -> None:
    monkeypatch.setattr(admitting, "resolve", lambda host: ["93.184.216.34"])
    source = web.url.replace("127.0.0.1", "localhost")
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder:
        async with serving(Path(folder), import_hosts="") as api:
            for scheme in (source, source.replace("http://", "registry://").replace("weights.txt", "pat@1.0.0")):
                failed = await over(api, await api.post(FILES, {"source": scheme, "version": "1.0.0"}))
                assert (failed["state"], failed["attempt"]) == ("failed", 1), failed
                assert "server's own machine" in failed["error"]["message"]
    assert web.asked == 0


async def test_a_server_that_sends_on_to_a_link_local_address_is_not_followed(api: Api, web: Web) -> None:
    source = web.url.replace("weights.txt", "away")
    failed = await over(api, await api.post(FILES, {"source": source, "version": "1.0.0"}))
    assert (failed["state"], failed["attempt"]) == ("failed", 1)
    assert "link-local" in failed["error"]["message"]


async def test_files_below_an_allowed_folder_are_read_where_they_are_and_no_others(files: tuple[Api, Path]) -> None:
    api, folder = files
    (folder / "model").mkdir()
    (folder / "model" / "a.txt").write_text("a")
    (folder / "model" / "b.md").write_text("b")
    (folder / "out").symlink_to("/etc")
    outside = folder.parent / "outside.txt"
    outside.write_text("not to be read")
    body = {"source": f"{folder}/model", "version": "1.0.0", "exclude": ["*.md"]}
    assert (await over(api, await api.post(FILES, body)))["state"] == "succeeded"
    assert sorted(path.name for path in (folder / "model").iterdir()) == ["a.txt", "b.md"], "nothing was touched"
    listed = await api.get("/registry/models/pat/versions/1.0.0/files")
    assert [one["path"] for one in listed["items"]] == ["a.txt"]
    for source in (outside, folder / "none", folder / "out" / "passwd", folder / ".." / "outside.txt"):
        refused = await api.post(FILES, {"source": str(source), "version": "2.0.0"})
        assert refused.json()["errors"][0]["code"] == "source_refused"
    (folder / "model" / "link.txt").symlink_to(outside)
    failed = await over(api, await api.post(FILES, {"source": f"{folder}/model", "version": "2.0.0"}))
    assert (failed["state"], failed["error"]["code"]) == ("failed", "invalid_request")


async def test_what_is_wrong_is_said_of_all_fields_at_once(api: Api) -> None:
    wrong = {"source": "nope://x", "aliases": ["UPPER"], "include": [""]}
    answer = await api.post("/registry/models/Wrong/imports", wrong)
    assert {e["path"] for e in answer.json()["errors"]} == {"name", "version", "source", "aliases[0]", "include[0]"}
    answer = await api.post(FILES, {"source": "x", "bump": "huge", "metrics": {"a": "b"}, "more": 1})
    assert {e["path"] for e in answer.json()["errors"]} == {"bump", "metrics.a", "more"}


async def test_transfers_that_there_are_none_of(api: Api) -> None:
    for path in ("", "/wait"):
        answer = await api.http.get(f"/api/v1/registry/transfers/tr-none{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await api.post("/registry/transfers/tr-none/cancel")).status_code == 404
    assert (
        await api.post(
            "/namespaces/none/registry/models/pat/imports", {"source": "https://h.invalid/x", "version": "1.0.0"}
        )
    ).status_code == 404
