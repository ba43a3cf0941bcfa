"""The cache through the API: what is in it and for whom, what stays, what is laid out ahead, and what it saved."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.registry.formats.kinds import Kind
from tests.api.conftest import Api, serving
from tests.registry.stored import SIZE, stored_as

MODELS = "/registry/models"
PAT = f"{MODELS}/pat"


async def publish(api: Api, number: str, name: str = "pat", content: int = 0) -> str:
    await api.post(MODELS, {"name": name})
    manifest = stored_as(api.home, {"a.txt": Kind.PLAIN}, content or int(number.replace(".", "")))
    answer = await api.post(f"{MODELS}/{name}/versions", {"version": number, "manifest": manifest})
    assert answer.status_code == 201, answer.text
    return manifest


async def put(api: Api, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    answer = await api.http.put(f"/api/v1{path}", json=body or {})
    return answer.status_code, answer.json()


async def delete(api: Api, path: str) -> int:
    return (await api.http.delete(f"/api/v1{path}")).status_code


async def until(api: Api, holds: Callable[[Any], Any], what: str) -> Any:
    """The cache once it is so."""
    deadline = time.monotonic() + 20
    while not holds(cache := await api.get("/registry/cache")):
        assert time.monotonic() < deadline, f"not within 20 s: {what}; {cache}"
        await asyncio.sleep(0.02)
    return cache


def laid(api: Api, manifest: str) -> Path:
    return api.home / "cache" / "laid" / f"{manifest[7:]}.exact"


async def test_an_empty_cache_says_so(api: Api) -> None:
    cache = await api.get("/registry/cache")
    since = cache.pop("since")
    assert cache == {
        "path": str(api.home / "cache"), "size": 0, "shared": 0, "limit": None, "folders": [], "pins": [],
        "hits": 0, "misses": 0, "fetched": {"store": 0, "peers": 0}, "spared": 0,
    }  # fmt: skip
    assert since.endswith("Z")


async def test_what_is_preloaded_is_laid_out_by_itself_also_what_the_alias_comes_to_mean(api: Api) -> None:
    first = await publish(api, "1.0.0")
    await put(api, f"{PAT}/aliases/stable", {"version": "1.0.0"})
    status, made = await put(api, f"{PAT}/preloads/stable", {"reason": "needed at once"})
    assert (status, made["reference"], made["version"], made["preload"]) == (201, "pat@stable", "1.0.0", True)
    assert (made["by"], made["reason"], made["manifest"]) == ("admin", "needed at once", first)
    cache = await until(api, lambda c: c["folders"], "it is laid out")
    cache = await until(api, lambda c: c["pins"][0]["progress"]["state"] == "done", "it is said")
    (folder,) = cache["folders"]
    assert (folder["manifest"], folder["layout"], folder["preloaded"], folder["pinned"]) == (
        first, "exact", ["default/pat@stable"], [],
    )  # fmt: skip
    assert folder["versions"] == [{"namespace": "default", "name": "pat", "version": "1.0.0", "deleted": False}]
    assert (cache["hits"], cache["misses"]) == (0, 0), "nobody has needed it yet"
    second = await publish(api, "1.1.0")
    await put(api, f"{PAT}/aliases/stable", {"version": "1.1.0"})
    cache = await until(api, lambda c: len(c["folders"]) == 2, "the new one is laid out")
    assert cache["folders"][0]["manifest"] == second, "the last used first"
    assert [f["preloaded"] for f in cache["folders"]] == [["default/pat@stable"], []]
    assert (await put(api, f"{PAT}/preloads/stable"))[0] == 200, "it is so already"
    assert await delete(api, f"{PAT}/preloads/stable") == 204
    assert (await api.get("/registry/cache"))["pins"] == []


async def test_a_pin_stays_whatever_the_size_and_says_why(api: Api) -> None:
    manifests = [await publish(api, number) for number in ("1.0.0", "1.1.0")]
    for number in ("1.0.0", "1.1.0"):
        await put(api, f"{PAT}/preloads/{number}")
    await until(api, lambda c: all(p["laid_out"] for p in c["pins"]), "they are laid out")
    assert (await put(api, f"{PAT}/pins/1.0.0"))[0] == 201
    for number, manifest in zip(("1.0.0", "1.1.0"), manifests, strict=True):
        await delete(api, f"{PAT}/preloads/{number}")
        for path in laid(api, manifest).rglob("*"):
            path.chmod(0o644)
            # As where the store is on another disk: the cache has bytes of its own.
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
        os.utime(laid(api, manifest), (0, 0))
    cache = await api.get("/registry/cache")
    assert {f["manifest"]: f["own"] for f in cache["folders"]} == dict.fromkeys(manifests, SIZE)
    answer = await api.http.post("/api/v1/registry/cleanup", params={"max_size": 0})
    done = answer.json()
    assert (done["removed"], done["folders"], done["limit"]) == (1, 1, 0)
    assert done["over"] == done["size"] >= SIZE
    (kept,) = done["kept"]
    assert (kept["manifest"], kept["reason"], kept["size"]) == (manifests[0], "pinned", SIZE)
    assert [version["version"] for version in kept["versions"]] == ["1.0.0"]
    assert laid(api, manifests[0]).is_dir()
    assert not laid(api, manifests[1]).exists()
    assert await delete(api, f"{PAT}/pins/1.0.0") == 204
    assert (await api.http.post("/api/v1/registry/cleanup", params={"max_size": 0})).json()["kept"] == []
    assert not laid(api, manifests[0]).exists()


async def test_what_means_nothing_is_not_pinned_and_a_deleted_version_keeps_nothing(api: Api) -> None:
    await publish(api, "1.0.0")
    for kind in ("pins", "preloads"):
        for path, status in ((f"{PAT}/{kind}/2.0.0", 404), (f"{PAT}/{kind}/stable", 404), (f"{PAT}/{kind}/A B", 422)):
            assert (await put(api, path))[0] == status, path
        assert (await put(api, f"{MODELS}/other/{kind}/latest"))[0] == 404
        assert await delete(api, f"{PAT}/{kind}/1.0.0") == 404
    await put(api, f"{PAT}/pins/1.0.0")
    assert await delete(api, f"{PAT}/versions/1.0.0?grace=0") == 200
    (pin,) = (await api.get("/registry/cache"))["pins"]
    assert (pin["version"], pin["manifest"], pin["laid_out"]) == (None, None, False)
    assert await delete(api, f"{PAT}/pins/1.0.0") == 204


async def test_it_is_said_which_models_use_a_version_and_hits_and_misses_are_counted(api: Api) -> None:
    await api.post(MODELS, {"name": "code"})
    manifest = stored_as(api.home, {"model.py": Kind.PYTHON})
    await api.post(f"{MODELS}/code/versions", {"version": "1.0.0", "manifest": manifest, "trust": ["code"]})
    # That it does not run makes no difference: its files are laid out before it is tried.
    spec = {"engine": "python", "source": "code@1.0.0", "trusted": True}
    answer = await api.http.post("/api/v1/models", json={"name": "uses", "spec": spec})
    assert answer.status_code == 202, answer.text
    cache = await until(api, lambda c: c["misses"], "it is laid out")
    assert (cache["folders"][0]["models"], cache["misses"]) == (["default/uses"], 1)
    assert cache["spared"] + cache["fetched"]["store"] >= SIZE
    await api.http.post("/api/v1/models", json={"name": "too", "spec": spec})
    cache = await until(api, lambda c: c["hits"], "the files are there for the other one")
    assert (cache["folders"][0]["models"], cache["spared"] >= SIZE) == (["default/too", "default/uses"], True)
    text = (await api.http.get("/internal/metrics")).text
    for line in ("registry_cache_versions 1.0", "registry_cache_misses_total 1.0", "registry_cache_hits_total "):
        assert f"\n{line}" in text, text
    assert 'registry_cache_fetched_bytes_total{source="store"} ' in text
    assert "registry_cache_limit_bytes" not in text


async def test_what_the_cache_is_kept_to_is_said_and_measured() -> None:
    home = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    try:
        async with serving(home, cache_size="1Gi") as api:
            assert (await api.get("/registry/cache"))["limit"] == 2**30
            text = (await api.http.get("/internal/metrics")).text
            assert "\nregistry_cache_limit_bytes 1.073741824e+09\n" in text
            assert "\nregistry_cache_size_bytes 0.0\n" in text
    finally:
        shutil.rmtree(home)


async def test_a_diff_says_what_differs_in_the_files_and_what_must_be_fetched(api: Api) -> None:
    await publish(api, "1.0.0")
    await publish(api, "1.1.0")
    diff = await api.get(f"{PAT}/diff?from=1.0.0")
    content = diff["content"]
    (changed,) = content["changed"]["items"]
    assert (changed["path"], changed["before"]["size"], content["same"]) == ("a.txt", SIZE, 0)
    assert (content["fetch"], content["shared"]) == (SIZE, 0)
    same = (await api.get(f"{PAT}/diff?from=1.0.0&to=1.0.0"))["content"]
    assert (same["fetch"], same["shared"], same["changed"]) == (0, SIZE, {"count": 0, "items": []})
    cut = (await api.get(f"{PAT}/diff?from=1.0.0&limit=0"))["content"]["changed"]
    assert cut == {"count": 1, "items": []}
    assert (await api.http.get(f"/api/v1{PAT}/diff?from=1.0.0&limit=1001")).status_code == 422
    for path in (api.home / "registry" / "manifests").rglob("*"):
        if path.is_file():
            path.unlink()
    gone = await api.get(f"{PAT}/diff?from=1.0.0")
    assert (gone["content"], [c["path"] for c in gone["changes"]]) == (None, ["manifest"])
