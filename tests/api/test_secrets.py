"""Secrets in specs, in a real control process with real instances: the model has them, and nobody else ever does."""

import json
from pathlib import Path

import pytest

VALUE = "hf-Zq8-plain-value-that-nobody-sees"
NEXT = "hf-Zq9-its-successor"
# Health checks have it, too.
CHECK = ["sh", "-c", "test ${#HF_TOKEN} -gt 10"]


def spec(value, **changes):
    container = {"secrets": {"HF_TOKEN": value}, "health_check": {"command": CHECK, "interval": "1s"}}
    return {"engine": "mock", "container": container, **changes}


def found_in(home: Path, *values: str) -> list[str]:
    """The files below ``home`` in which one of ``values`` stands."""
    return [
        str(path)
        for path in home.rglob("*")
        if path.is_file() and not path.is_symlink() and any(value.encode() in path.read_bytes() for value in values)
    ]


@pytest.fixture
def answers(api, monkeypatch):
    """The text of every answer."""
    texts = []

    async def keep(response):
        await response.aread()
        texts.append(response.text)

    api.http.event_hooks = {"request": [], "response": [keep]}
    return texts


@pytest.fixture
def another_token(monkeypatch):
    """The control process has one of that name, too."""
    monkeypatch.setenv("HF_TOKEN", "of-the-control-process")


async def test_a_secret_reaches_the_instance_and_nobody_else(another_token, api, answers, caplog):
    await api.deploy("a", spec(VALUE))
    shown = await api.get("/models/a")
    assert shown["spec"]["container"]["secrets"] == {"HF_TOKEN": "********"}
    # Its processes have it.
    (instance,) = (await api.get("/models/a/status"))["instances"]
    environment = Path(f"/proc/{instance['pid']}/environ").read_bytes().split(b"\0")
    assert f"HF_TOKEN={VALUE}".encode() in environment
    # What was shown, sent back, and the value itself change nothing.
    same = await api.http.put("/api/v1/models/a", json={"spec": shown["spec"]})
    assert same.status_code == 200, same.text
    again = await api.http.put(
        "/api/v1/models/a", json={"spec": shown["spec"] | {"container": spec(VALUE)["container"]}}
    )
    assert again.status_code == 200, again.text
    assert (await api.get("/models/a"))["generation"] == 1
    # Another value is a change, for which instances are replaced, and of which only that is told.
    changed = {"spec": {"container": {"secrets": {"HF_TOKEN": NEXT}}}}
    refused = await api.http.patch("/api/v1/models/a", json=changed)
    assert refused.json()["code"] == "restart_not_acknowledged" or refused.status_code in (409, 422)
    forecast = await api.http.patch("/api/v1/models/a?dry_run=true", json=changed)
    assert "container.secrets.HF_TOKEN" in forecast.text
    done = await api.http.patch("/api/v1/models/a", json=changed | {"acknowledge_restart": True})
    assert done.status_code == 202, done.text
    for path in ("", "/revisions", "/events", "/status"):
        await api.get(f"/models/a{path}")
    await api.http.get("/api/v1/models/a/revisions/1/diff")
    # Nor do errors repeat it.
    for wrong in (
        {"secrets": {"HF TOKEN": VALUE}}, {"secrets": {"A": VALUE}, "environment": {"A": "x"}},
        {"secrets": {"A": VALUE}, "nonsense": 1}, {"secrets": {"A": [VALUE]}}, {"secrets": VALUE},
        {"secrets": {"A": VALUE * 4000}}, {"secrets": {"A": "********"}},
    ):  # fmt: skip
        body = {"name": "b", "spec": {"engine": "mock", "container": wrong}}
        assert (await api.http.post("/api/v1/models", json=body)).status_code == 422, wrong
    assert answers
    assert not [text for text in answers if VALUE in text or NEXT in text]
    assert VALUE not in caplog.text
    assert NEXT not in caplog.text
    assert found_in(api.home, VALUE, NEXT) == []


async def test_a_model_whose_key_is_lost_says_so_and_does_not_start(api):
    await api.deploy("a", spec(VALUE), desired="stopped")
    api.services.secrets._keys.clear()
    (api.home / "secrets.key").write_text("00" * 32)
    await api.http.post("/api/v1/models/a/start")
    status = await api.until("a", lambda s: s["state"] == "error", "it fails")
    assert status["failure"]["code"] == "secret_lost"
    assert "HF_TOKEN" in status["failure"]["message"]
    # Set anew it starts.
    body = {"spec": {"container": {"secrets": {"HF_TOKEN": NEXT}}}, "acknowledge_restart": True}
    assert (await api.http.patch("/api/v1/models/a", json=body)).status_code in (200, 202)
    await api.until("a", lambda s: s["state"] == "running", "it runs")


def test_the_document_says_that_secrets_are_never_shown():
    from modelyard.api.schemas.spec import Container

    assert "never shown" in json.dumps(Container.model_json_schema())
    assert VALUE not in repr(Container(secrets={"A": VALUE}))
