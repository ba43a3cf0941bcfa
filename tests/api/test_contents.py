"""The bytes behind the registry through the API: what must be trusted in them, where they are, and cleaning up."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.registry.content.storage import Folder
from modelyard.registry.formats.kinds import Kind
from tests.api.conftest import Api
from tests.registry.stored import stored_as

PAT = "/registry/models/pat"


async def publish(api: Api, files: dict[str, str], *trust: str, number: str = "1.0.0") -> tuple[int, Any]:
    await api.post("/registry/models", {"name": "pat"})
    body = {"version": number, "manifest": stored_as(api.home, files), "trust": list(trust)}
    answer = await api.post(f"{PAT}/versions", body)
    return answer.status_code, answer.json()


def problems(answer: tuple[int, Any]) -> set[tuple[str, str]]:
    assert answer[0] == 422, answer
    return {(error["path"], error["code"]) for error in answer[1]["errors"]}


async def test_all_that_must_be_trusted_is_said_at_once_with_the_files(api: Api) -> None:
    files = {
        "a.txt": Kind.PLAIN, "model.py": Kind.PYTHON, "w.bin": Kind.PICKLE, "net.h5": Kind.PROGRAM,
        **{f"{i}.xyz": Kind.UNKNOWN for i in range(7)},
    }  # fmt: skip
    status, body = await publish(api, dict(files))
    assert problems((status, body)) == {
        ("trust", "code_refused"), ("trust", "pickle_refused"), ("trust", "program_refused"),
        ("trust", "unknown_format"),
    }  # fmt: skip
    said = " ".join(error["message"] for error in body["errors"])
    for words in ("'model.py'", "'w.bin'", "'net.h5'", "'0.xyz', '1.xyz'", "and 2 more", "--allow-code"):
        assert words in said
    assert "a.txt" not in said
    assert problems(await publish(api, dict(files), "pickle")) == {
        ("trust", "code_refused"),
        ("trust", "unknown_format"),
    }
    assert problems(await publish(api, dict(files), "pickle", "code")) == {("trust", "unknown_format")}
    assert (await api.http.get(f"/api/v1{PAT}/versions/1.0.0")).status_code == 404
    wrong = await publish(api, {"a.txt": Kind.PLAIN}, "everything")
    assert [error["path"] for error in wrong[1]["errors"]] == ["trust[0]"]


async def test_what_was_trusted_is_kept_and_what_need_not_be_is_not(api: Api) -> None:
    status, made = await publish(api, {"model.py": Kind.PYTHON, "a.txt": Kind.PLAIN}, "pickle", "code", "code")
    assert (status, made["trust"]) == (201, ["code"])
    assert (await publish(api, {"model.py": Kind.PYTHON, "a.txt": Kind.PLAIN}, "code"))[0] == 200, "it is the same"
    status, plain = await publish(api, {"a.txt": Kind.PLAIN}, "code", "pickle", number="1.1.0")
    assert (status, plain["trust"]) == (201, [])
    listed = {v["version"]: v["trust"] for v in (await api.get(f"{PAT}/versions"))["items"]}
    assert listed == {"1.0.0": ["code"], "1.1.0": []}
    told = [e["data"] for e in (await api.get("/events?model=pat"))["items"] if e["type"] == "VersionPublished"]
    assert [data["trust"] for data in told] == [[], ["code"]]
    changes = (await api.get(f"{PAT}/diff?from=1.0.0&to=1.1.0"))["changes"]
    assert {"path": "trust", "before": ["code"], "after": []} in changes


@pytest.mark.parametrize(
    ("path", "said", "code"),
    [
        ("model.py", Kind.PLAIN, "code_refused"), ("run.SH", Kind.ONNX_DATA, "code_refused"),
        ("w.pt", Kind.PLAIN, "pickle_refused"), ("w.pkl", Kind.PYTHON, "pickle_refused"),
        ("w.txt", "harmless", "unknown_format"), ("w.txt", "", "unknown_format"),
    ],
)  # fmt: skip
async def test_a_manifest_that_plays_a_file_down_is_not_believed(api: Api, path: str, said: str, code: str) -> None:
    assert problems(await publish(api, {path: said})) == {("trust", code)}


async def test_a_new_store_has_its_identity_before_anything_is_in_it(api: Api) -> None:
    assert [path.name for path in (api.home / "registry").iterdir()] == ["store.id"]
    place = await api.get("/registry/store")
    assert place == {
        "url": (api.home / "registry").as_uri(), "id": Folder(api.home / "registry").identity(),
        "cache": str(api.home / "cache"),
    }  # fmt: skip
    (api.home / "registry" / "store.id").chmod(0o644)
    (api.home / "registry" / "store.id").write_text("?")
    broken = await api.http.get("/api/v1/registry/store")
    assert (broken.status_code, "store.id is damaged" in broken.json()["detail"]) == (503, True)


@pytest.mark.parametrize("grace", ["1s", "9m", "366d", "1e300", "99999999999999d", 10**18])
async def test_a_grace_that_is_none_is_refused_and_collects_nothing(api: Api, grace: str | int) -> None:
    answer = await api.http.post("/api/v1/registry/gc", params={"grace": grace})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "query.grace")
    assert (await api.http.post("/api/v1/registry/gc", params={"grace": "365d"})).status_code == 200
