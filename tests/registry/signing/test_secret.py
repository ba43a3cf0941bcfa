"""Signatures by a secret: of one version and manifest, and by the letter."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.errors import InvalidRequest
from modelyard.domain.signing import MAX_BUNDLE
from modelyard.registry.signing.secret import Secret, Signed, claimed_key
from tests.registry.signing.test_bundles import CHARACTERS, refusal

SECRET = Secret(b"0123456789abcdef" * 4)
SIGNED = Signed(namespace="default", model="pat", version="1.4.2", manifest=f"sha256:{7:064x}")
BUNDLE = SECRET.sign(SIGNED)


def test_a_bundle_is_the_secrets_for_just_this_version_and_manifest() -> None:
    assert SECRET.has_signed(SIGNED, BUNDLE)
    assert claimed_key(BUNDLE, SIGNED) == SECRET.fingerprint
    assert not Secret(b"another secret, as long as it is".ljust(32)).has_signed(SIGNED, BUNDLE)
    for other in (
        replace(SIGNED, manifest=f"sha256:{8:064x}"),
        replace(SIGNED, version="1.4.3"),
        replace(SIGNED, model="cat"),
        replace(SIGNED, namespace="other"),
    ):
        assert not SECRET.has_signed(other, BUNDLE)
        assert refusal(lambda o=other: claimed_key(BUNDLE, o))[0] == "other_version"  # type: ignore[misc]


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(BUNDLE) - 1), kind=st.sampled_from(["replace", "insert", "remove"]), new=CHARACTERS)
def test_no_changed_character_of_a_statement_is_ever_verified(at: int, kind: str, new: str) -> None:
    other = BUNDLE[:at] + ("" if kind == "remove" else new) + BUNDLE[at + (kind != "insert") :]
    assert SECRET.has_signed(SIGNED, other) == (other == BUNDLE)


def test_a_signature_says_nothing_of_its_secret() -> None:
    document = json.loads(BUNDLE)
    assert document.keys() == {"format", "key", "namespace", "model", "version", "manifest", "mac"}
    assert document["mac"] != SECRET.fingerprint
    assert "0123456789abcdef0123456789abcdef" not in BUNDLE


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", "[" * 100_000, '{"format":"modelyard.hmac/2"}', BUNDLE[:-1]])
def test_what_is_no_bundle_is_refused(text: str) -> None:
    assert refusal(lambda: claimed_key(text, SIGNED))[0] == "invalid_bundle"


def test_a_bundle_has_a_mebibyte_at_most() -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        claimed_key(" " * (MAX_BUNDLE + 1), SIGNED)
