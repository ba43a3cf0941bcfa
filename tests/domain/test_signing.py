"""What becomes of keys and signatures, by the rules alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import signing
from modelyard.domain.errors import NotFound, Refused
from modelyard.domain.registry import Content, Identity, Notes, RegisteredModel, Version
from modelyard.domain.shelf import Asked
from modelyard.domain.signing import Ring, RingChange, SignatureKind, Standing, TrustedKey, VersionSignature
from modelyard.domain.spec import Artifact, Container, Engine, HealthCheck, Spec

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ASKED = Asked(actor="ada", reason="because", at=NOW)
PRINTS = [f"{number:064x}" for number in range(4)]
EMPTY = Ring(namespace="default")


def trusted(ring: Ring, name: str = "ci", fingerprint: str = PRINTS[0]) -> RingChange:
    return signing.trust(ring, name, SignatureKind.OPENSSF, fingerprint, "PEM", ASKED)


def after(ring: Ring, change: RingChange) -> Ring:
    """The ring as the store has it then."""
    others = tuple(k for k in ring.keys if change.key is None or k.fingerprint != change.key.fingerprint)
    keys = (*others, change.key) if change.key is not None else others
    ordered = sorted(keys, key=lambda k: (k.name, -k.trusted_at.timestamp(), k.fingerprint))
    return Ring(namespace=ring.namespace, required=change.required, keys=tuple(ordered))


def refusal(change: object) -> Refused:
    with pytest.raises(Refused) as caught:
        change()  # type: ignore[operator]
    return caught.value


def test_a_key_is_trusted_once_under_one_name_with_who_when_and_why() -> None:
    change = trusted(EMPTY)
    assert change.key == TrustedKey(
        namespace="default", name="ci", kind=SignatureKind.OPENSSF, fingerprint=PRINTS[0], public_key="PEM",
        trusted_at=NOW, trusted_by="ada", reason="because",
    )  # fmt: skip
    (event,) = change.events
    assert (event.type, event.actor, event.reason, event.data["key"]) == ("KeyTrusted", "ada", "because", "ci")
    ring = after(EMPTY, change)
    assert trusted(ring).events == ()
    assert refusal(lambda: trusted(ring, "other")).code == "key_exists"
    assert refusal(lambda: trusted(ring, "ci", PRINTS[1])).allowed == ("revoke",)


def test_a_revoked_key_is_never_trusted_again_and_its_name_is_free() -> None:
    ring = after(EMPTY, trusted(EMPTY))
    change = signing.revoke(ring, "ci", replace(ASKED, actor="eve", reason="lost"))
    assert change.key is not None
    assert (change.key.revoked_at, change.key.revoked_by, change.key.revoked_for) == (NOW, "eve", "lost")
    assert [event.type for event in change.events] == ["KeyRevoked"]
    ring = after(ring, change)
    assert signing.revoke(ring, "ci", ASKED).events == ()
    for name in ("ci", "another"):
        refused = refusal(lambda n=name: trusted(ring, n))  # type: ignore[misc]
        assert refused.code == "key_revoked"
        assert "ci, revoked 2026-11-21 12:00 UTC (lost)" in refused.message
    ring = after(ring, signing.trust(ring, "ci", SignatureKind.HMAC, PRINTS[1], "", ASKED))
    assert ring.find("ci").fingerprint == PRINTS[1]
    assert len(ring.keys) == 2


def test_a_name_that_no_key_ever_had_is_not_found() -> None:
    with pytest.raises(NotFound, match="no key 'x'"):
        signing.revoke(EMPTY, "x", ASKED)


def test_the_policy_is_told_where_it_changes() -> None:
    on = signing.require(EMPTY, True, ASKED)
    assert (on.required, [event.type for event in on.events]) == (True, ["SignaturesRequired"])
    ring = after(EMPTY, on)
    assert signing.require(ring, True, ASKED).events == ()
    assert [event.type for event in signing.require(ring, False, ASKED).events] == ["SignaturesNotRequired"]


@given(st.lists(st.tuples(st.sampled_from(["trust", "revoke"]), st.sampled_from("abc"), st.sampled_from(PRINTS))))
def test_whatever_is_done_a_name_means_one_key_and_what_was_revoked_stays_so(steps: list[tuple[str, str, str]]) -> None:
    ring, revoked = EMPTY, set[str]()
    for number, (kind, name, fingerprint) in enumerate(steps):
        asked = replace(ASKED, at=NOW + timedelta(seconds=number))
        try:
            if kind == "trust":
                change = signing.trust(ring, name, SignatureKind.OPENSSF, fingerprint, "PEM", asked)
            else:
                change = signing.revoke(ring, name, asked)
        except (Refused, NotFound):
            continue
        ring = after(ring, change)
        revoked |= {key.fingerprint for key in ring.keys if not key.is_trusted}
        live = [key for key in ring.keys if key.is_trusted]
        assert len({key.name for key in live}) == len(live)
        assert len({key.fingerprint for key in ring.keys}) == len(ring.keys)
        assert not revoked & {key.fingerprint for key in live}


def test_what_is_not_required_is_no_problem_and_else_the_version_must_be_signed_by_a_trusted_key() -> None:
    good = trusted(EMPTY).key
    assert good is not None
    bad = replace(good, revoked_at=NOW, revoked_for="lost")
    assert Standing(required=False).problem("pat@1.0.0", "p") is None
    assert Standing(required=False, signed_by=(bad,)).problem("pat@1.0.0", "p") is None
    assert Standing(required=True, signed_by=(bad, good)).problem("pat@1.0.0", "p") is None
    unsigned = Standing(required=True).problem("pat@1.0.0", "p")
    assert unsigned is not None
    assert (unsigned.path, unsigned.code, "modelyard sign pat@1.0.0" in unsigned.message) == ("p", "unsigned", True)
    untrusted = Standing(required=True, signed_by=(bad,)).problem("pat@1.0.0", "p")
    assert untrusted is not None
    assert untrusted.code == "untrusted_key"
    assert "ci, revoked 2026-11-21 12:00 UTC (lost)" in untrusted.message


GOOD = TrustedKey(
    namespace="default", name="ci", kind=SignatureKind.OPENSSF, fingerprint=PRINTS[0], trusted_at=NOW, trusted_by="ada"
)
SIGNED = Standing(required=True, signed_by=(GOOD,))
REGISTERED = Spec(
    engine=Engine.ONNX, source="pat@^1", artifact=Artifact(version="1.0.0", manifest="sha256:0", entry="model.onnx")
)


def paths(standing: Standing, spec: Spec) -> list[str]:
    found = signing.launch_problems(standing, spec)
    assert all(problem.code == "unsigned" for problem in found)
    return [problem.path for problem in found]


def test_what_nobody_can_have_signed_is_told_all_at_once_each_at_its_path() -> None:
    health = HealthCheck(command=("true",))
    container = Container(
        environment={"LD_PRELOAD": "x", "PATH": "/x", "TZ": "UTC"}, working_dir="/x", health_check=health
    )
    everything = Spec(engine=Engine.COMMAND, source="file:///x", options={"command": ["x"]}, container=container)
    assert paths(SIGNED, everything) == [
        "source", "engine", "container.health_check.command", "container.working_dir",
        "container.environment.LD_PRELOAD", "container.environment.PATH",
    ]  # fmt: skip
    assert paths(Standing(required=False), everything) == []
    refusal = signing.launch_refusal(signing.launch_problems(SIGNED, everything), ["stop"])
    assert (refusal.code, refusal.allowed) == ("unsigned", ("stop",))
    assert "modelyard push" in refusal.message
    assert "LD_PRELOAD" in refusal.message


@pytest.mark.parametrize("engine", list(Engine))
def test_a_source_is_a_signed_version_whatever_the_engine(engine: Engine) -> None:
    named = ["engine"] if engine is Engine.COMMAND else []
    spec = replace(REGISTERED, engine=engine, trusted=True)
    assert paths(SIGNED, spec) == named
    assert paths(Standing(required=True), spec) == ["source", *named]
    for source in ("file:///srv/m.onnx", "not a reference@@", None):
        assert paths(SIGNED, replace(spec, source=source)) == ["source", *named], "its files are not the version's"
    assert paths(SIGNED, replace(spec, source=None, artifact=None)) == named, "it loads nothing"
    assert paths(SIGNED, replace(spec, artifact=None)) == named, "that has a problem of its own"


@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=40))
def test_a_variable_is_refused_unless_it_is_known_to_bring_no_code(name: str) -> None:
    spec = replace(REGISTERED, container=Container(environment={name: "x"}))
    free = name in signing.FREE_VARIABLES or name[:3] == "LC_" or name[:6] == "MODEL_"
    assert paths(SIGNED, spec) == ([] if free else [f"container.environment.{name}"])


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "LD_LIBRARY_PATH", "GCONV_PATH", "LOCPATH", "MODEL", "MODELYARD_X", "tz"]
)
def test_what_only_looks_like_a_free_variable_is_none(name: str) -> None:
    spec = Spec(engine=Engine.MOCK, container=Container(environment={name: "x"}))
    assert paths(SIGNED, spec) == [f"container.environment.{name}"]


@pytest.mark.parametrize("name", [*signing.FREE_VARIABLES, "LC_ALL", "MODEL_TEMPERATURE"])
def test_a_mock_without_anything_of_its_own_is_free(name: str) -> None:
    outputs = [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1]}]
    spec = Spec(engine=Engine.MOCK, options={"outputs": outputs}, container=Container(environment={name: "x"}))
    assert paths(Standing(required=True), spec) == []


MODEL = RegisteredModel(uid="u", namespace="default", name="pat", created_at=NOW, updated_at=NOW)
VERSION = Version(
    model_uid="u", version="1.0.0", identity=Identity(content=Content(manifest="sha256:0", size=1, files=1)),
    notes=Notes(), published_at=NOW, published_by="ada",
)  # fmt: skip
SIGNATURE = VersionSignature(
    model_uid="u", version="1.0.0", fingerprint=PRINTS[0], kind=SignatureKind.OPENSSF, manifest="sha256:0",
    bundle="{}", checked_at=NOW, added_at=NOW, added_by="ada",
)  # fmt: skip


def test_a_version_has_one_signature_of_a_key_the_first() -> None:
    ring = after(EMPTY, trusted(EMPTY))
    change = signing.sign(ring, MODEL, VERSION, None, SIGNATURE, ASKED)
    assert change.signature == SIGNATURE
    assert [(event.type, event.model, event.data["key"]) for event in change.events] == [("VersionSigned", "pat", "ci")]
    again = signing.sign(ring, MODEL, VERSION, SIGNATURE, replace(SIGNATURE, bundle="[]"), ASKED)
    assert (again.signature, again.events) == (SIGNATURE, ())


def test_a_deleted_version_is_not_signed_nor_is_any_by_a_key_that_was_revoked_meanwhile() -> None:
    ring = after(EMPTY, trusted(EMPTY))
    deleted = replace(VERSION, deleted_at=NOW, purge_at=NOW)
    assert refusal(lambda: signing.sign(ring, MODEL, deleted, None, SIGNATURE, ASKED)).code == "version_deleted"
    gone = replace(MODEL, deleted_at=NOW, purge_at=NOW)
    assert refusal(lambda: signing.sign(ring, gone, VERSION, None, SIGNATURE, ASKED)).code == "version_deleted"
    revoked = after(ring, signing.revoke(ring, "ci", ASKED))
    for other in (revoked, EMPTY):
        refused = refusal(lambda r=other: signing.sign(r, MODEL, VERSION, None, SIGNATURE, ASKED))  # type: ignore[misc]
        assert refused.code == "untrusted_key"
