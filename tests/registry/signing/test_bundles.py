"""Bundles of the OpenSSF's model-signing: those of the library are ours, ours are the library's, and no others are."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.errors import InvalidRequest
from modelyard.domain.signing import MAX_BUNDLE
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.storage import Folder
from modelyard.registry.content.stored import read_manifest
from modelyard.registry.signing import bundles, keys
from modelyard.registry.signing.signatures import digests_of
from tests.registry.content.making import listed, mixed, pushed
from tests.registry.formats.making import write
from tests.registry.signing.conftest import Pair

FILES = {"a.txt": sha256(b"a").hexdigest(), "deep/er/b.bin": sha256(b"b").hexdigest()}
# Any character that may stand in a text.
CHARACTERS = st.characters(exclude_categories=("Cs",)) | st.sampled_from(' \t\n{}[]",:\\=/+0aA')


def folder_of(root: Path) -> Mapping[str, str]:
    return {str(found.path): sha256((root / found.path).read_bytes()).hexdigest() for found in listed(root)}


def refusal(work: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        work()
    (problem,) = caught.value.problems
    return problem.code, problem.message


def changed(bundle: str, change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(bundle)
    change(document)
    return json.dumps(document, separators=(",", ":"))


def signed_anew(bundle: str, pair: Pair, change: Callable[[dict[str, Any]], object]) -> str:
    """The bundle with another payload, rightly signed."""
    document = json.loads(bundle)
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    change(payload)
    body = json.dumps(payload).encode()
    private: Any = serialization.load_pem_private_key(pair.private.read_bytes(), None)
    signature = private.sign(bundles._pae(body), ec.ECDSA(hashes.SHA256()))
    document["dsseEnvelope"]["payload"] = base64.b64encode(body).decode()
    document["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(document, separators=(",", ":"))


@pytest.fixture(scope="module")
def bundle(pair: Pair) -> str:
    return bundles.sign(FILES, "pat@1.4.2", pair.private)


def test_ours_is_the_librarys_on_a_folder_that_was_pulled(home: Path, storage: Folder, pair: Pair) -> None:
    from model_signing import verifying

    manifest = pushed(mixed(home / "in"), storage).manifest
    pull(storage, manifest, home / "out")
    file = home / "pat.sig"
    file.write_text(bundles.sign(digests_of(read_manifest(storage, manifest)), "pat@1.0.0", pair.private))
    library = verifying.Config().use_elliptic_key_verifier(public_key=pair.public)
    library.verify(home / "out", file)
    (home / "out" / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"Hash mismatch for 'config\.json'"):
        library.verify(home / "out", file)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_librarys_is_ours_on_a_plain_folder(home: Path, curve: ec.EllipticCurve) -> None:
    from model_signing import signing

    key = ec.generate_private_key(curve)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private = write(home / "k", pem)
    root = mixed(home / "in")
    signing.Config().use_elliptic_key_signer(private_key=private).sign(root, home / "sig")
    bundle, public = (home / "sig").read_text(), keys.check_private_key(private)
    bundles.check(bundle, public, folder_of(root))
    write(root / "config.json", b"[]")
    code, said = refusal(lambda: bundles.check(bundle, public, folder_of(root)))
    assert (code, "other content: 'config.json'" in said) == ("other_version", True)


def test_a_bundle_as_releases_before_1_1_have_spelled_it_is_taken(home: Path, bundle: str, pair: Pair) -> None:
    from model_signing._signing.sign_ec_key import Verifier
    from model_signing._signing.sign_sigstore_pb import Signature

    document = json.loads(bundle)
    del document["verificationMaterial"]["tlogEntries"]
    bundles.check(json.dumps(document), pair.key, FILES)
    Verifier(pair.public).verify(Signature.read(write(home / "sig", json.dumps(document).encode())))
    del document["dsseEnvelope"]["signatures"][0]["keyid"]
    bundles.check(json.dumps(document), pair.key, FILES)


def test_a_bundle_is_of_one_version_and_of_all_its_files(bundle: str, pair: Pair) -> None:
    bundles.check(bundle, pair.key, FILES)
    for files, code, words in (
        ({**FILES, "a.txt": sha256(b"c").hexdigest()}, "other_version", "other content: 'a.txt'"),
        ({"a.txt": FILES["a.txt"]}, "other_version", "not there: 'deep/er/b.bin'"),
        ({**FILES, "c": FILES["a.txt"]}, "incomplete", "leaves files out: 'c'"),
        ({f"{i}": FILES["a.txt"] for i in range(5)}, "other_version", "not signed: '0', '1', '2' and 2 more"),
    ):
        found, said = refusal(lambda f=files: bundles.check(bundle, pair.key, f))  # type: ignore[misc]
        assert (found, words in said) == (code, True), said


def test_what_the_library_leaves_out_of_a_folder_is_asked_for(home: Path, pair: Pair) -> None:
    from model_signing import hashing, signing

    root = write(home / "in" / ".gitattributes", b"*.bin").parent
    write(root / "a.txt", b"a")
    config = signing.Config().use_elliptic_key_signer(private_key=pair.private)
    config.sign(root, home / "sig")
    code, said = refusal(lambda: bundles.check((home / "sig").read_text(), pair.key, folder_of(root)))
    assert (code, "--no-ignore-git-paths" in said) == ("incomplete", True)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False))
    config.sign(root, home / "sig")
    bundles.check((home / "sig").read_text(), pair.key, folder_of(root))


def test_another_key_has_not_signed_it_even_under_the_same_hint(bundle: str, pair: Pair, another: Pair) -> None:
    assert refusal(lambda: bundles.check(bundle, another.key, FILES))[0] == "untrusted_key"

    def pretend(document: dict[str, Any]) -> None:
        document["verificationMaterial"]["publicKey"]["hint"] = another.key.hint

    assert refusal(lambda: bundles.check(changed(bundle, pretend), another.key, FILES))[0] == "bad_signature"
    assert bundles.claimed_hint(bundle) == pair.key.hint


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_changed_character_of_a_bundle_is_ever_verified(bundle: str, pair: Pair, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(bundle) - 1))
    kind = data.draw(st.sampled_from(["replace", "insert", "remove"]))
    new = "" if kind == "remove" else data.draw(CHARACTERS)
    other = bundle[:at] + new + bundle[at + (kind != "insert") :]
    if other != bundle:
        code, _ = refusal(lambda: bundles.check(other, pair.key, FILES))
        assert code in ("invalid_bundle", "old_bundle", "no_key", "bad_signature", "untrusted_key")


def test_every_character_of_the_signature_and_of_its_hint_counts(bundle: str, pair: Pair) -> None:
    document = json.loads(bundle)
    for text in (document["dsseEnvelope"]["signatures"][0]["sig"], pair.key.hint):
        start = bundle.index(text)
        for at in range(start, start + len(text)):
            # Also the last one, whose lowest bits base64 does not use.
            for new in "ABCDabcd0123+/=":
                if bundle[at] != new:
                    other = bundle[:at] + new + bundle[at + 1 :]
                    with pytest.raises(InvalidRequest):
                        bundles.check(other, pair.key, FILES)


def test_bundles_of_older_formats_say_that_they_are(bundle: str, pair: Pair, another: Pair) -> None:
    def no_hint(document: dict[str, Any]) -> None:
        document["verificationMaterial"]["publicKey"] = {}

    def raw_bytes(document: dict[str, Any]) -> None:
        document["verificationMaterial"]["publicKey"] |= {"rawBytes": "AAAA", "keyDetails": "PKIX_ECDSA_P256_SHA_256"}

    def digests_only(payload: dict[str, Any]) -> None:
        payload["predicateType"] = "https://model_signing/Digests/v0.1"
        payload["subject"] = [{"name": name, "digest": {"sha256": sha}} for name, sha in FILES.items()]

    for old in (
        changed(bundle, no_hint),
        changed(bundle, raw_bytes),
        signed_anew(bundle, pair, digests_only),
    ):
        code, said = refusal(lambda o=old: bundles.check(o, pair.key, FILES))  # type: ignore[misc]
        assert (code, "older than" in said) == ("old_bundle", True), said

    def certified(document: dict[str, Any]) -> None:
        document["verificationMaterial"] = {"x509CertificateChain": {"certificates": []}, "tlogEntries": []}

    assert refusal(lambda: bundles.check(changed(bundle, certified), pair.key, FILES))[0] == "no_key"


def test_what_is_rightly_signed_and_no_list_of_whole_files_is_refused(bundle: str, pair: Pair) -> None:
    def with_(**predicate: Any) -> Callable[[dict[str, Any]], None]:
        def change(payload: dict[str, Any]) -> None:
            for key, value in predicate.items():
                payload["predicate"][key] = value

        return change

    resources = [{"name": name, "digest": sha, "algorithm": "sha256"} for name, sha in sorted(FILES.items())]
    shards = {"method": "shards", "hash_type": "sha256", "shard_size": 1000, "allow_symlinks": False}
    blake = {"method": "files", "hash_type": "blake3", "allow_symlinks": False}
    for change, expected in (
        (with_(serialization=shards), "other_hashes"),
        (with_(serialization=blake), "other_hashes"),
        (with_(resources=[{**resource, "algorithm": "blake2b"} for resource in resources]), "other_hashes"),
        (with_(resources=resources[:1]), "invalid_bundle"),  # of which the digest of all is not
        (with_(resources="none"), "invalid_bundle"),
        (lambda payload: payload.clear(), "invalid_bundle"),
        (lambda payload: payload.update({"predicateType": "https://slsa.dev/provenance/v1"}), "invalid_bundle"),
        (lambda payload: payload.update({"_type": "https://in-toto.io/Statement/v0.1"}), "invalid_bundle"),
    ):
        other = signed_anew(bundle, pair, change)
        assert refusal(lambda o=other: bundles.check(o, pair.key, FILES))[0] == expected  # type: ignore[misc]

    def twice(payload: dict[str, Any]) -> None:
        payload["predicate"]["resources"] = [*resources, resources[-1]]
        joined = b"".join(bytes.fromhex(r["digest"]) for r in payload["predicate"]["resources"])
        payload["subject"][0]["digest"]["sha256"] = sha256(joined).hexdigest()

    other = signed_anew(bundle, pair, twice)
    assert "twice" in refusal(lambda: bundles.check(other, pair.key, FILES))[1]


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "null", "{}", '"text"', "[" * 100_000, '{"mediaType":', "1e999", '{"a":"\\ud800"}']
)
def test_what_is_no_bundle_is_refused(text: str, pair: Pair) -> None:
    assert refusal(lambda: bundles.check(text, pair.key, FILES))[0] == "invalid_bundle"


def test_a_bundle_has_a_mebibyte_at_most(bundle: str, pair: Pair) -> None:
    assert refusal(lambda: bundles.check(bundle + " " * MAX_BUNDLE, pair.key, FILES))[0] == "too_large"
    many = {f"{i:06}": os.urandom(32).hex() for i in range(8000)}
    code, said = refusal(lambda: bundles.sign(many, "many", pair.private))
    assert (code, "--hmac" in said) == ("too_large", True)
    some = {f"{i:06}": os.urandom(32).hex() for i in range(3000)}
    bundles.check(bundles.sign(some, "some", pair.private), pair.key, some)


def test_nothing_is_printed_by_either_side(pair: Pair) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        bundles.check(bundles.sign(FILES, "pat", pair.private), pair.key, FILES)
    assert not printed.getvalue()
