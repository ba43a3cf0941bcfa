"""Signatures through the API: which are taken, what they are worth, and what is served for them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import onnx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from modelyard.domain.signing import MAX_BUNDLE
from modelyard.registry.content.storage import Folder
from modelyard.registry.content.stored import read_manifest
from modelyard.registry.signing import bundles, keys, secret
from modelyard.registry.signing.secret import Secret, Signed
from modelyard.registry.signing.signatures import digests_of
from modelyard.supervisor.processes import instance_processes
from tests.api.conftest import Api
from tests.registry.content.making import chain, pushed
from tests.registry.formats.making import tensor
from tests.registry.signing.test_checking import carried
from tests.registry.stored import stored

PAT = "/registry/models/pat"


def store_of(api: Api) -> Folder:
    return Folder(api.home / "registry")


def bundle_of(api: Api, manifest: str, private: Path) -> str:
    return bundles.sign(digests_of(read_manifest(store_of(api), manifest)), "pat", private)


def problems(answer: httpx2.Response) -> set[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return {(error["path"], error["code"]) for error in answer.json()["errors"]}


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def published(api: Api, number: str, manifest: str, **more: Any) -> str:
    await api.post("/registry/models", {"name": "pat"})
    answer = await api.post(f"{PAT}/versions", {"version": number, "manifest": manifest, **more})
    assert answer.status_code == 201, answer.text
    return manifest


async def times(api: Api, number: str, factor: float) -> str:
    """Publish a model that multiplies; its manifest."""
    folder = api.home / f"times-{number}"
    folder.mkdir()
    onnx.save(chain(tensor("w", (np.eye(64) * factor).astype(np.float32))), folder / "model.onnx")
    manifest = pushed(folder, store_of(api)).manifest
    shutil.rmtree(folder)
    return await published(api, number, manifest)


async def put(api: Api, path: str, body: Mapping[str, Any]) -> httpx2.Response:
    return await api.http.put(f"/api/v1{path}", json=body)


async def trusted(api: Api, name: str) -> Path:
    """The private key of one that is trusted now."""
    private, public = keys.generate(api.home, name)
    answer = await put(api, f"/registry/keys/{name}", {"public_key": public.read_text(), "reason": "ours"})
    assert answer.status_code == 201, answer.text
    return private


async def revoke(api: Api, name: str, reason: str = "lost") -> httpx2.Response:
    return await api.http.delete(f"/api/v1/registry/keys/{name}", params={"reason": reason})


async def sign(api: Api, number: str, bundle: str, kind: str = "openssf") -> httpx2.Response:
    return await api.post(f"{PAT}/versions/{number}/signatures", {"kind": kind, "bundle": bundle, "reason": "good"})


async def required(api: Api, on: bool = True) -> None:
    answer = await put(api, "/registry/policy", {"require_signature": on, "reason": "rules"})
    assert answer.json()["require_signature"] is on


async def test_a_key_is_trusted_shown_and_revoked_for_good(api: Api) -> None:
    await trusted(api, "ci")
    key = await api.get("/registry/keys/ci")
    assert key == (await api.get("/namespaces/default/registry/keys"))["items"][0]
    assert (key["kind"], key["reason"], key["trusted_by"], key["revoked_at"]) == ("openssf", "ours", "admin", None)
    same = await put(api, "/registry/keys/ci", {"public_key": key["public_key"]})
    assert (same.status_code, same.json()) == (200, key)
    assert code(await put(api, "/registry/keys/other", {"public_key": key["public_key"]})) == (409, "key_exists")
    gone = await revoke(api, "ci")
    assert (gone.json()["revoked_for"], gone.json()["revoked_by"]) == ("lost", "admin")
    assert (await revoke(api, "ci", "again")).json() == gone.json()
    assert code(await put(api, "/registry/keys/ci", {"public_key": key["public_key"]})) == (409, "key_revoked")
    await trusted(api, "ops")
    assert [k["name"] for k in (await api.get("/registry/keys"))["items"]] == ["ci", "ops"]
    assert (await revoke(api, "nobody")).status_code == 404
    events = (await api.get("/events"))["items"]
    assert [(e["type"], e["reason"]) for e in events] == [
        ("KeyTrusted", "ours"), ("KeyRevoked", "lost"), ("KeyTrusted", "ours"),
    ]  # fmt: skip


async def test_what_signs_no_models_is_no_key(api: Api) -> None:
    pem = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    for body, problem in (
        ({"public_key": pem.decode()}, ("public_key", "invalid_key")),
        ({"public_key": "hello"}, ("public_key", "invalid_key")),
        ({}, ("public_key", "invalid_key")),
        ({"public_key": "x" * 5000}, ("public_key", "invalid_value")),
        ({"kind": "rsa"}, ("kind", "invalid_value")),
        ({"kind": "hmac", "public_key": "x"}, ("public_key", "not_allowed")),
        ({"kind": "hmac"}, ("kind", "no_secret")),
    ):
        found = problems(await put(api, "/registry/keys/ci", body))
        assert {path for path, _ in found} == {problem[0]}, found
        if problem[1] != "invalid_value":
            assert found == {problem}
    assert problems(await put(api, "/registry/keys/Not a name", {"kind": "hmac"})) == {("path.key", "invalid_name")}


async def test_a_signature_is_kept_once_with_the_word_that_all_was_read(api: Api) -> None:
    private = await trusted(api, "ci")
    manifest = await published(api, "1.0.0", stored(api.home, 1))
    path = f"{PAT}/versions/1.0.0"
    assert await api.get(f"{path}/verification") == {
        "version": "1.0.0", "manifest": manifest, "signed": False, "required": False, "signatures": [],
    }  # fmt: skip
    bundle = bundle_of(api, manifest, private)
    made = await sign(api, "1.0.0", bundle)
    assert made.status_code == 201, made.text
    kept = made.json()
    assert (kept["key"], kept["manifest"], kept["bundle"], kept["reason"]) == ("ci", manifest, bundle, "good")
    assert kept["content_checked_at"] <= kept["added_at"]
    again = await sign(api, "1.0.0", bundle_of(api, manifest, private))
    assert (again.status_code, again.json()) == (200, kept)
    assert (await api.get(f"{path}/signatures"))["items"] == [kept]
    found = await api.get(f"/namespaces/default{path}/verification")
    assert (found["signed"], [(v["key"], v["valid"], v["trusted"], v["problem"]) for v in found["signatures"]]) == (
        True, [("ci", True, True, "")],
    )  # fmt: skip
    await revoke(api, "ci")
    found = await api.get(f"{path}/verification")
    (verdict,) = found["signatures"]
    assert (found["signed"], verdict["valid"], verdict["trusted"]) == (False, True, False)
    assert verdict["problem"].endswith("UTC by admin: lost")
    refused = await sign(api, "1.0.0", bundle)
    assert problems(refused) == {("bundle", "untrusted_key")}
    assert "is for good: sign with another key" in refused.json()["detail"]
    shutil.rmtree(api.home / "registry" / "manifests")
    (verdict,) = (await api.get(f"{path}/verification"))["signatures"]
    assert (verdict["valid"], "The store has no" in verdict["problem"]) == (False, True)
    signed = [e for e in (await api.get("/events?model=pat"))["items"] if e["type"] == "VersionSigned"]
    assert [(e["message"], e["reason"]) for e in signed] == [("pat@1.0.0 is signed by ci.", "good")]


async def test_what_is_not_a_signature_of_this_version_is_refused(api: Api) -> None:
    private = await trusted(api, "ci")
    strange, _ = keys.generate(api.home, "strange")
    one = await published(api, "1.0.0", stored(api.home, 1))
    two = await published(api, "2.0.0", stored(api.home, 2))
    good = bundle_of(api, one, private)
    for bundle, problem in (
        (bundle_of(api, two, private), ("bundle", "other_version")),
        (bundle_of(api, one, strange), ("bundle", "untrusted_key")),
        (good.replace("==", "="), ("bundle", "invalid_bundle")),
        (good[:-1], ("bundle", "invalid_bundle")),
        ("{}", ("bundle", "invalid_bundle")),
    ):
        assert problems(await sign(api, "1.0.0", bundle)) == {problem}
    assert {path for path, _ in problems(await sign(api, "1.0.0", "x" * (MAX_BUNDLE + 1)))} == {"bundle"}
    assert problems(await sign(api, "1.0.0", good, "hmac")) == {("bundle", "invalid_bundle")}
    assert (await sign(api, "9.0.0", good)).status_code == 404
    assert (await api.get(f"{PAT}/versions/1.0.0/signatures"))["items"] == []


async def test_a_signed_list_of_files_is_not_carried_by_other_bytes(api: Api) -> None:
    private = await trusted(api, "ci")
    honest = await published(api, "1.0.0", stored(api.home, 1))
    bundle = bundle_of(api, honest, private)
    lie = await published(api, "1.0.1", carried(store_of(api), honest, b"evil".rjust(1000)))
    assert bundles.check(bundle, keys.check_private_key(private), digests_of(read_manifest(store_of(api), lie))) is None
    assert problems(await sign(api, "1.0.1", bundle)) == {("version", "untrue_manifest")}
    (pack,) = {e.key for e in store_of(api).find("packs/") if b"evil" not in store_of(api).read(e.key)}
    path = store_of(api).path(pack)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))
    assert problems(await sign(api, "1.0.0", bundle)) == {("version", "damaged_content")}
    assert (await api.get(f"{PAT}/versions/1.0.0/verification"))["signed"] is False


async def test_a_secret_signs_where_the_server_has_it_for_itself(api: Api) -> None:
    made = secret.generate(api.home, "closed")
    place = api.home / "signing" / "closed.hmac"
    place.parent.mkdir()
    shutil.copy(made, place)
    place.chmod(0o644)
    refused = await put(api, "/registry/keys/closed", {"kind": "hmac"})
    assert problems(refused) == {("kind", "no_secret")}
    assert "chmod 600" in refused.json()["detail"]
    place.chmod(0o600)
    key = (await put(api, "/registry/keys/closed", {"kind": "hmac"})).json()
    assert (key["kind"], key["public_key"], key["fingerprint"]) == ("hmac", "", Secret.read(made).fingerprint)
    manifest = await published(api, "1.0.0", stored(api.home, 1))
    bundle = Secret.read(made).sign(Signed(namespace="default", model="pat", version="1.0.0", manifest=manifest))
    assert problems(await sign(api, "1.0.0", bundle.replace('"mac":"', '"mac":"0'), "hmac")) == {
        ("bundle", "bad_signature")
    }
    assert problems(await sign(api, "1.0.0", bundle)) == {("bundle", "invalid_bundle")}
    kept = await sign(api, "1.0.0", bundle, "hmac")
    assert (kept.status_code, kept.json()["key"]) == (201, "closed")
    assert (await api.get(f"{PAT}/versions/1.0.0/verification"))["signed"] is True
    # Another secret by now, and then none: what can be checked no more is not valid.
    place.unlink()
    shutil.move(secret.generate(api.home, "new"), place)
    for words in ("is another one by now", "There is no secret 'closed'"):
        (verdict,) = (await api.get(f"{PAT}/versions/1.0.0/verification"))["signatures"]
        assert (verdict["valid"], words in verdict["problem"]) == (False, True), verdict
        place.unlink(missing_ok=True)
    everything = str([await api.get("/registry/keys"), await api.get("/events"), refused.text, kept.text])
    assert made.read_text().strip() not in everything


async def test_a_secret_that_two_namespaces_trust_signs_for_one_of_them(api: Api) -> None:
    made = secret.generate(api.home, "closed")
    (api.home / "signing").mkdir()
    shutil.copy2(made, api.home / "signing" / "closed.hmac")
    manifest = await published(api, "1.0.0", stored(api.home, 1))
    await api.post("/namespaces", {"name": "other"})
    there = "/namespaces/other/registry"
    await api.post(f"{there}/models", {"name": "pat"})
    await api.post(f"{there}/models/pat/versions", {"version": "1.0.0", "manifest": manifest})
    for keys_of in ("/registry/keys", f"{there}/keys"):
        assert (await put(api, f"{keys_of}/closed", {"kind": "hmac"})).status_code == 201
    bundle = Secret.read(made).sign(Signed(namespace="default", model="pat", version="1.0.0", manifest=manifest))
    assert (await sign(api, "1.0.0", bundle, "hmac")).status_code == 201
    body = {"kind": "hmac", "bundle": bundle}
    refused = await api.post(f"{there}/models/pat/versions/1.0.0/signatures", body)
    assert problems(refused) == {("bundle", "other_version")}
    assert "namespace default" in refused.json()["detail"]
    # The words alone do not make it one of the other's.
    body["bundle"] = bundle.replace('"default"', '"other"')
    refused = await api.post(f"{there}/models/pat/versions/1.0.0/signatures", body)
    assert problems(refused) == {("bundle", "bad_signature")}


async def test_where_signatures_are_required_only_signed_versions_are_deployed(api: Api) -> None:
    private = await trusted(api, "ci")
    manifest = await times(api, "1.0.0", 2)
    await required(api)
    assert (await api.get("/namespaces/default"))["require_signature"] is True
    body = {"name": "m", "spec": {"source": "pat@1.0.0"}}
    for path in ("/models", "/models?dry_run=true"):
        refused = await api.post(path, body)
        assert problems(refused) == {("spec.source", "unsigned")}
        assert "modelyard sign pat@1.0.0 --key FILE" in refused.json()["detail"]
    await required(api, on=False)
    assert (await api.post("/models?dry_run=true", body)).status_code == 200
    await required(api)
    assert (await sign(api, "1.0.0", bundle_of(api, manifest, private))).status_code == 201
    assert (await api.post("/models?dry_run=true", body)).status_code == 200
    assert (await api.deploy("m", {"source": "pat@1.0.0"}))["state"] == "succeeded"
    types = [e["type"] for e in (await api.get("/events"))["items"]]
    assert types.count("SignaturesRequired") == 2
    assert types.count("SignaturesNotRequired") == 1


async def test_where_signatures_are_required_nothing_is_served_from_files(api: Api) -> None:
    folder = api.home / "double"
    folder.mkdir()
    onnx.save(chain(tensor("w", np.eye(64, dtype=np.float32))), folder / "model.onnx")
    file = {"source": str(folder / "model.onnx")}
    assert (await api.deploy("m", file))["state"] == "succeeded"
    await required(api)
    assert problems(await api.post("/models", {"name": "n", "spec": file})) == {("spec.source", "unsigned")}
    assert code(await api.post("/models/m/restart")) == (409, "unsigned")
    assert await api.state("m") == "running"
    for process in instance_processes(api.home):
        os.kill(process.pid, signal.SIGKILL)
    await api.until("m", lambda s: bool(s["failure"]) and s["failure"]["code"] == "unsigned", "refused")
    await required(api, on=False)
    await api.until("m", lambda s: s["state"] == "running", "it comes back by itself")
    await required(api)
    mock = {"name": "mock", "spec": {"engine": "mock"}}
    assert (await api.post("/models?dry_run=true", mock)).status_code == 200, "there is nothing to sign"


async def test_where_signatures_are_required_a_spec_brings_no_code_and_no_files_of_its_own(api: Api) -> None:
    private = await trusted(api, "ci")
    await sign(api, "1.0.0", bundle_of(api, await times(api, "1.0.0", 2), private))
    sleep = {"command": ["sleep", "60"]}
    signed = {"source": "pat@1.0.0"}
    brought: list[tuple[dict[str, Any], set[str]]] = [
        ({"engine": "mock", "container": {"health_check": sleep}}, {"spec.container.health_check.command"}),
        ({**signed, "engine": "command", "options": sleep}, {"spec.engine"}),
        ({"engine": "command", "options": sleep}, {"spec.engine"}),
        ({"engine": "mock", "source": str(api.home)}, {"spec.source"}),
        (
            {
                **signed,
                "container": {
                    "environment": {"LD_PRELOAD": "/tmp/x.so", "PYTHONPATH": "/tmp", "TZ": "UTC"},
                    "working_dir": "/tmp",
                    "health_check": sleep,
                },
            },
            {
                "spec.container.environment.LD_PRELOAD", "spec.container.environment.PYTHONPATH",
                "spec.container.working_dir", "spec.container.health_check.command",
            },
        ),
    ]  # fmt: skip
    for spec, _ in brought:
        assert (await api.post("/models?dry_run=true", {"name": "n", "spec": spec})).status_code == 200, spec
    await required(api)
    for path in ("/models", "/models?dry_run=true"):
        for spec, paths in brought:
            found = problems(await api.post(path, {"name": "n", "spec": spec}))
            assert found == {(path, "unsigned") for path in paths}
    environment = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "2", "MODEL_TEMPERATURE": "0.5"}
    for spec in ({"engine": "mock"}, signed):
        body = {"name": "n", "spec": {**spec, "container": {"environment": environment}}}
        assert (await api.post("/models?dry_run=true", body)).status_code == 200, spec


async def test_what_came_with_a_spec_before_signatures_were_required_is_launched_no_more(api: Api) -> None:
    made = await api.deploy("m", {"engine": "mock", "container": {"environment": {"PYTHONPATH": str(api.home)}}})
    assert made["state"] == "succeeded"
    clean = {"spec": {"container": {"environment": {"PYTHONPATH": None}}}, "acknowledge_restart": True}
    await required(api)
    for command in ("restart", "redeploy"):
        refused = await api.post(f"/models/m/{command}")
        assert code(refused) == (409, "unsigned")
        assert "PYTHONPATH" in refused.json()["detail"]
    assert problems(await api.patch("/models/m", {"spec": {"resources": {"cpu": 0.1}}})) == {
        ("spec.container.environment.PYTHONPATH", "unsigned")
    }
    assert await api.state("m") == "running", "what runs goes on"
    for process in instance_processes(api.home):
        os.kill(process.pid, signal.SIGKILL)
    status = await api.until("m", lambda s: bool(s["failure"]) and s["failure"]["code"] == "unsigned", "refused")
    assert "PYTHONPATH" in status["failure"]["message"]
    await api.wait(await api.post("/models/m/stop"))
    for path in ("/models/m/start", "/models/m/start?dry_run=true"):
        assert code(await api.post(path)) == (409, "unsigned")
    assert (await api.patch("/models/m", clean)).status_code in (200, 202)
    await api.wait(await api.post("/models/m/start"))
    assert await api.state("m") == "running"
    assert problems(await api.post("/models/m/rollback", {"generation": 1})) == {
        ("spec.container.environment.PYTHONPATH", "unsigned")
    }


async def test_what_runs_goes_on_after_a_revocation_and_nothing_is_launched_of_it(api: Api) -> None:
    await times(api, "0.9.0", 1)
    await api.deploy("m", {"source": "pat@0.9.0"})
    manifest = await times(api, "1.0.0", 2)
    private = await trusted(api, "ci")
    await sign(api, "1.0.0", bundle_of(api, manifest, private))
    await required(api)
    await api.wait(await api.patch("/models/m", {"spec": {"source": "pat@1.0.0"}}))
    assert problems(await api.post("/models/m/rollback")) == {("spec.source", "unsigned")}
    assert (await api.get("/registry/policy"))["not_startable"] == []
    assert (await revoke(api, "ci")).json()["not_startable"] == ["m"]
    assert (await api.get("/registry/policy"))["not_startable"] == ["m"]
    assert await api.state("m") == "running"
    assert code(await api.post("/models/m/restart")) == (409, "untrusted_key")
    assert code(await api.post("/models/m/redeploy")) == (409, "untrusted_key")
    environment = {"spec": {"container": {"environment": {"TZ": "UTC"}}}, "acknowledge_restart": True}
    changed = await api.patch("/models/m", environment)
    assert problems(changed) == {("spec.source", "untrusted_key")}
    assert "ci, revoked" in changed.json()["detail"]
    words = await api.patch("/models/m", {"spec": {"description": "other words"}})
    assert words.status_code in (200, 202), "what launches nothing is free"
    assert await api.state("m") == "running"
    await api.wait(await api.post("/models/m/stop"))
    for path in ("/models/m/start", "/models/m/start?dry_run=true"):
        assert code(await api.post(path)) == (409, "untrusted_key")
    assert await api.state("m") == "stopped"
    other = await trusted(api, "ops")
    await sign(api, "1.0.0", bundle_of(api, manifest, other))
    await api.wait(await api.post("/models/m/start"))
    assert await api.state("m") == "running"


async def test_an_instance_that_crashes_after_a_revocation_is_not_launched_again_until_the_version_is_signed(
    api: Api,
) -> None:
    private, other = await trusted(api, "ci"), await trusted(api, "ops")
    manifest = await times(api, "1.0.0", 2)
    await sign(api, "1.0.0", bundle_of(api, manifest, private))
    await required(api)
    await api.deploy("m", {"source": "pat@1.0.0"})
    await revoke(api, "ci", "stolen")
    for process in instance_processes(api.home):
        os.kill(process.pid, signal.SIGKILL)
    status = await api.until("m", lambda s: bool(s["failure"]) and s["failure"]["code"] == "untrusted_key", "refused")
    assert "(stolen)" in status["failure"]["message"]
    assert status["instances"] == [] or status["state"] != "running"
    assert not instance_processes(api.home)
    await sign(api, "1.0.0", bundle_of(api, manifest, other))
    await api.until("m", lambda s: s["state"] == "running", "it comes back by itself")


async def test_a_model_that_follows_waits_until_the_new_version_is_signed(api: Api) -> None:
    private = await trusted(api, "ci")
    await sign(api, "1.0.0", bundle_of(api, await times(api, "1.0.0", 2), private))
    await required(api)
    await api.deploy("m", {"source": "pat@^1", "follow": "auto"})
    newer = await times(api, "1.1.0", 3)
    artifact = (await api.get("/models/m/status"))["artifact"]
    assert (artifact["version"], artifact["newer"]) == ("1.0.0", "1.1.0")
    events: list[Any] = []
    async with asyncio.timeout(20):
        while not (stuck := [event for event in events if event["type"] == "CannotFollow"]):
            await asyncio.sleep(0.02)
            events = (await api.get("/events?model=m"))["items"]
    assert "pat@1.1.0 is not signed" in stuck[0]["message"]
    assert problems(
        await api.patch("/models/m", {"spec": {"source": "pat@^1.1"}})
    ) == {("spec.source", "unsigned")}  # fmt: skip
    await sign(api, "1.1.0", bundle_of(api, newer, private))
    await api.until("m", lambda s: s["artifact"]["version"] == "1.1.0", "it follows once it is signed")
