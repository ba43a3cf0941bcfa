"""How the dashboard's files are served."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.conftest import Api


@pytest.fixture
def built(api: Api, tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Modelyard</title>" + " " * 500)
    (tmp_path / "assets" / "index-abc.js").write_text("export {};" * 100)
    (tmp_path / "assets" / "font.woff2").write_bytes(b"\0" * 100)
    (tmp_path / "secret.txt").write_text("no")
    api.app.state.dashboard = tmp_path
    return tmp_path


async def test_the_page_is_for_everybody_and_asked_for_anew(api: Api, built: Path) -> None:
    answer = await api.http.get("/", headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (answer.headers["cache-control"], answer.headers["content-encoding"]) == ("no-cache", "gzip")
    policies = answer.headers.get_list("content-security-policy")
    assert "default-src 'self'" in policies[0]
    assert "script-src" not in policies[0], "scripts come from the server, never from the page itself"
    same = await api.http.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    (built / "index.html").write_text("<!doctype html><title>New</title>")
    assert "New" in (await api.http.get("/")).text


async def test_what_the_page_loads_is_kept_for_good(api: Api, built: Path) -> None:
    script = await api.http.get("/assets/index-abc.js")
    assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "immutable" in script.headers["cache-control"]
    assert script.text == "export {};" * 100
    plain = await api.http.get("/assets/index-abc.js", headers={"Accept-Encoding": "identity"})
    assert ("content-encoding" not in plain.headers, plain.text) == (True, script.text)
    font = await api.http.get("/assets/font.woff2")
    assert (font.headers["content-type"], "content-encoding" in font.headers) == ("font/woff2", False)


@pytest.mark.parametrize(
    "path", ["/assets/none.js", "/assets/..%2fsecret.txt", "/assets/%2e%2e/secret.txt", "/secret.txt"]
)
async def test_nothing_else_of_the_machine_is_served(api: Api, built: Path, path: str) -> None:
    answer = await api.http.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_where_it_is_not_built_the_page_says_how_to(api: Api, tmp_path: Path) -> None:
    api.app.state.dashboard = tmp_path
    answer = await api.http.get("/")
    assert (answer.status_code, "make up" in answer.text) == (200, True)
