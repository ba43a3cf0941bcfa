"""Keys and members from the command line, and what a key opens at the front door."""

from __future__ import annotations

import json
import subprocess

import httpx2
import pytest

from modelyard.client import Modelyard, NotFound
from tests.cli.yard import COMMAND, Yard


def test_a_key_is_made_used_rotated_and_revoked(yard: Yard) -> None:
    yard.ok("deploy", "keyed", "--engine", "mock")
    made = json.loads(yard.ok("api-keys", "create", "ci", "--role", "user", "--expires", "1h", "--output", "json"))

    def status(secret: str, method: str = "GET", path: str = "/v2/models/keyed") -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx2.request(method, f"{yard.url}{path}", headers=headers, timeout=20).status_code

    assert status(made["secret"]) == 200
    assert status(made["secret"], "POST", "/api/v1/models/keyed/stop") == 403
    told = subprocess.run(
        [*COMMAND, "whoami"], env={**yard.env, "MODELYARD_TOKEN": made["secret"]}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "key:default/ci" in told.stdout
    assert "read, infer" in told.stdout
    rotated = json.loads(yard.ok("api-keys", "rotate", "ci", "--overlap", "0s", "--output", "json"))
    assert (status(made["secret"]), status(rotated["secret"])) == (401, 200)
    listed = yard.ok("api-keys", "list")
    assert "ci" in listed
    assert rotated["secret"] not in listed
    yard.ok("api-keys", "revoke", "ci")
    assert status(rotated["secret"]) == status(rotated["secret"], path="/api/v1/models") == 401
    yard.ok("delete", "keyed", "--yes", "--force")


def test_members_and_features_are_set_by_the_client(yard: Yard) -> None:
    with Modelyard(yard.url, token=(yard.home / "admin.token").read_text().strip()) as client:
        put = client.members.put("group:vision", "operator", models=["wine-*"], reason="their models")
        assert (put.member, put.role, put.models) == ("group:vision", "operator", ["wine-*"])
        assert [m.member for m in client.members.list()] == ["group:vision"]
        client.members.remove("group:vision")
        assert list(client.members.list()) == []
        assert client.me().oversees
        changed = client.namespaces.update("default", features={"python": False})
        assert changed.features["python"] is False
        assert client.namespaces.update("default", features={"python": None}).features["python"] is True
        with pytest.raises(NotFound, match="nothing"):
            client.api_keys.get("nothing")
