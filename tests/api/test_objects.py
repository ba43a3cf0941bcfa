"""The store's objects and the cache's files over the API, as HTTP has them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from modelyard.registry import room
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.receiving import framed
from modelyard.registry.content.storage import Folder
from tests.api.conftest import Api
from tests.registry.stored import stored

OBJECTS = "/api/v1/registry/objects"
DATA = bytes(range(256)) * 20_000  # 5 MB: more than a request may have elsewhere
LABEL = hashlib.sha256(DATA).hexdigest()
PACK = f"{OBJECTS}/packs/{LABEL[:2]}/{LABEL}"


async def put(api: Api, data: bytes = DATA, path: str = PACK) -> int:
    answer = await api.http.put(path, content=b"".join(framed([data])))
    return answer.status_code


async def test_an_object_is_written_read_in_ranges_and_listed(api: Api) -> None:
    assert await put(api) == 201
    key = f"packs/{LABEL[:2]}/{LABEL}"
    assert Folder(api.home / "registry").read(key) == DATA
    head = await api.http.head(PACK)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(DATA)))
    whole = await api.http.get(PACK)
    assert (whole.status_code, whole.content, whole.headers["accept-ranges"]) == (200, DATA, "bytes")
    for asked, first, last in (
        ("0-9", 0, 9),
        ("4999000-", 4_999_000, 5_119_999),
        ("5119990-6000000", 5_119_990, 5_119_999),
    ):
        part = await api.http.get(PACK, headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, DATA[first : last + 1])
        assert part.headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"
    behind = await api.http.get(PACK, headers={"Range": f"bytes={len(DATA)}-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
    assert (await api.http.get(PACK, headers={"Range": "bytes=-5"})).content == DATA, "what is not understood is all"
    assert await api.get(f"{PACK.removeprefix('/api/v1')}/latest") == {"key": key}
    assert (await api.http.post(f"{PACK}/touch")).json() == {"there": True}
    listed = await api.get("/registry/objects?prefix=packs/&page_size=1")
    assert [(item["key"], item["size"]) for item in listed["items"]] == [(key, len(DATA))]
    rest = await api.get(f"/registry/objects?prefix=packs/&page_size=1&page_token={listed['next_page_token']}")
    assert rest == {"items": [], "next_page_token": ""}


async def test_what_is_refused_leaves_nothing(api: Api) -> None:
    assert await put(api, DATA[1:]) == 422
    assert (await api.http.put(PACK, content=b"\0\0\0\x05abc")).status_code == 422
    assert await put(api, path=PACK.replace("packs", "waiting")) == 422
    assert await put(api, path=PACK.replace(f"/{LABEL[:2]}/", "/zz/")) == 422
    api.http.headers.pop("authorization")
    for answer in (await api.http.put(PACK, content=b""), await api.http.get(PACK), await api.http.get(OBJECTS)):
        assert answer.status_code == 401
    assert list(Folder(api.home / "registry").find("")) == []


@pytest.mark.parametrize("prefix", ["../", "..", "objects/../../", "/etc/", "objects/ab/../", "%2e%2e/"])
async def test_nothing_but_the_store_is_listed(api: Api, prefix: str) -> None:
    assert (await api.http.get(OBJECTS, params={"prefix": prefix})).status_code == 422
    assert await api.get("/registry/objects?prefix=objects/ab/..") == {"items": [], "next_page_token": ""}


async def test_other_bodies_are_still_limited(api: Api) -> None:
    answer = await api.http.post("/api/v1/registry/models", content=b" " * (5 * 2**20))
    assert answer.status_code == 413


async def test_a_body_that_nothing_is_to_be_done_with_is_not_read(api: Api) -> None:
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b" " * 2**20

    answer = await api.http.post(f"{PACK}/touch", content=body())
    assert (answer.status_code, answer.json()) == (200, {"there": False})
    assert taken <= 1


async def test_what_is_not_there_is_said(api: Api) -> None:
    for path in (PACK, f"/api/v1/registry/cache/files/{LABEL}"):
        assert (await api.http.head(path)).status_code == 404
        assert (await api.http.get(path)).json()["code"] == "missing_content"
    assert (await api.get(f"{PACK.removeprefix('/api/v1')}/latest")) == {"key": None}
    assert (await api.http.post(f"{PACK}/touch")).json() == {"there": False}


@pytest.mark.parametrize("name", ["..%2f..%2fadmin.token", "x" * 64, f"{LABEL}.y", f"{LABEL}/../../admin.token"])
async def test_the_cache_gives_files_of_its_own_only(api: Api, name: str) -> None:
    answer = await api.http.get(f"/api/v1/registry/cache/files/{name}", params={"object": "../admin.token"})
    assert answer.status_code in (404, 422)


async def test_the_cache_gives_what_it_has_laid_out(api: Api) -> None:
    digest = stored(api.home, 1)
    laid_out = api.services.objects._cache.lay_out(digest, Layout.EXACT)
    (file,) = (api.home / "cache" / "files").glob("*/*")
    path = f"/api/v1/registry/cache/files/{file.name}"
    assert (await api.http.get(path)).content == (laid_out.path / "a.txt").read_bytes()
    assert (await api.http.get(path, headers={"Range": "bytes=990-"})).content == file.read_bytes()[990:]
    assert (await api.http.head(path)).headers["content-length"] == "1000"


async def test_an_upload_that_would_fill_the_disk_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LEFT_FREE", 2**62)
    answer = await api.http.put(PACK, content=b"".join(framed([DATA])))
    assert (answer.status_code, answer.json()["code"]) == (507, "no_space")
    assert "modelyard gc" in answer.text
    assert (await api.http.get(PACK)).status_code == 404
