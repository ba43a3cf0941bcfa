"""Keys and members from the command line, and what a key opens at the front door."""

from __future__ import annotations

import json
import re
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
    assert "administer, oversee" in yard.ok("whoami")
    assert re.search(r"The one before works until \d{4}-\d\d-\d\d \d\d:\d\d UTC\.", yard.ok("api-keys", "rotate", "ci"))
    assert "its secret before 20" in yard.ok("api-keys", "list")
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


def test_a_namespace_is_shown_whole_to_those_who_administer_it_and_in_part_to_others(yard: Yard) -> None:
    yard.ok("namespace", "create", "shown", "--memory", "8Gi", "--description", "eyes")
    yard.ok("namespace", "set", "shown", "--feature", "python=off")
    yard.ok("-n", "shown", "members", "add", "group:eyes", "--role", "editor", "--model", "wine-*")
    yard.ok("-n", "shown", "deploy", "one", "--engine", "mock", "--memory", "1Gi", "--stopped")
    key = json.loads(yard.ok("-n", "shown", "api-keys", "create", "look", "--role", "viewer", "-o", "json"))["secret"]
    rules = "name: short\nselector: {namespaces: ['show*']}\nmode: warn\nrules: {max_run_time: 12h}\n"
    assert yard.run("policy", "set", "-f", "-", stdin=rules).returncode == 0
    try:
        told = yard.ok("namespace", "show", "shown")
        assert re.search(r"Memory +0 of 8 GiB\n", told)
        assert re.search(r"May use .*python off", told)
        assert re.search(r"Models +1 stopped\n", told)
        assert re.search(r"group:eyes +editor +wine-\*\n", told)
        assert re.search(r"short +the installation +warn +max_run_time\n", told)
        seen = yard.run("namespace", "show", "shown", MODELYARD_URL=yard.url, MODELYARD_TOKEN=key)
        assert re.search(r"Members +not yours to see\n", seen.stdout), seen.stderr
    finally:
        yard.ok("policy", "delete", "short")
        yard.ok("-n", "shown", "delete", "one", "--yes", "--force")
        yard.ok("namespace", "delete", "shown")
