"""A browser's session at the front door: the cookie alone, on the inference paths as on the API."""

from __future__ import annotations

import json

import httpx2

from tests.cli.yard import Yard

BODY = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]}


def test_a_session_asks_models_until_its_key_is_revoked_and_other_pages_cannot_use_it(yard: Yard) -> None:
    yard.ok("deploy", "browsed", "--engine", "mock")
    made = json.loads(yard.ok("api-keys", "create", "browser", "--role", "user", "--output", "json"))
    with httpx2.Client(base_url=yard.url, headers={"Origin": yard.url}) as http:
        assert http.post("/v2/models/browsed/infer", json=BODY).status_code == 401
        begun = http.post("/api/v1/session", json={"key": made["secret"]})
        assert (begun.status_code, begun.json()["name"]) == (200, "key:default/browser"), begun.text
        assert list(http.cookies) == [f"modelyard_session_{yard.port}"]
        for path in ("/v2/models/browsed/infer", "/namespaces/default/v2/models/browsed/infer"):
            assert http.post(path, json=BODY).status_code == 200
        assert http.get("/v2/models/browsed").status_code == 200
        assert http.post("/v2/repository/index", json={}).json()
        # An operator's: the control process hears who asks.
        refused = http.post("/v2/repository/models/browsed/unload", json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), refused.text
        for told in (
            {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": f"{yard.url}1"},
            {"Origin": yard.url, "Sec-Fetch-Site": "cross-site"},
        ):  # fmt: skip
            for path in (
                "/v2/models/browsed/infer",
                "/v2/repository/models/browsed/load",
                "/api/v1/models/browsed/stop",
            ):
                answer = http.post(path, json=BODY, headers=told)
                assert (answer.status_code, answer.json()["code"]) == (403, "cross_site"), (path, told)
        assert http.get("/v2/models/browsed", headers={"Origin": "http://evil.example"}).status_code == 200
        wrong = http.post("/v2/models/browsed/infer", json=BODY, headers={"Authorization": "Bearer wrong"})
        assert wrong.status_code == 401, "a header is looked at first"
        yard.ok("api-keys", "revoke", "browser")
        ended = http.post("/v2/models/browsed/infer", json=BODY)
        assert (ended.status_code, "not valid" in ended.json()["detail"]) == (401, True)
    yard.ok("delete", "browsed", "--yes", "--force")


def test_the_command_prints_a_link_that_signs_in_once(yard: Yard) -> None:
    link = yard.json("dashboard")
    assert link["url"] == f"{yard.url}/#/sign-in?code={link['code']}"
    with httpx2.Client(base_url=yard.url) as http:
        assert http.post("/api/v1/session", json={"code": link["code"]}).json()["name"] == "admin"
        assert http.get("/api/v1/me").json()["oversees"]
        assert http.post("/api/v1/session", json={"code": link["code"]}).status_code == 401
    (line,) = yard.ok("dashboard").splitlines()
    assert line.startswith(f"{yard.url}/#/sign-in?code=")
    assert f"Dashboard  {yard.url}" in yard.ok("up", "--detach")
