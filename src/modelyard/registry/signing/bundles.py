"""OpenSSF model-signing bundles: made with that library, and checked here by the same rules, strictly.

A bundle (https://docs.sigstore.dev/about/bundle/) holds an in-toto statement in a DSSE envelope: the SHA-256 of each
file, signed with an ECDSA key. It is checked without the library, which reads files, prints, and takes forms older than
1.0; and whose import costs the control process 46 MiB. No single character of a bundle can change: it is spelled as the
library spells it, and nothing in it is left unchecked. As a whole it can be spelled otherwise (compact or with blanks,
and each ECDSA signature has a twin), which signs the same: a bundle is no name. Tests have each side verify what the
other has made.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.signing import MAX_BUNDLE

if TYPE_CHECKING:
    from modelyard.registry.signing.keys import PublicKey

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_OLD_PREDICATE: Final = "https://model_signing/Digests/v0.1"
_SIGN_AGAIN: Final = "Sign again with model-signing 1.1 or newer, or with modelyard sign."
_LISTED: Final = 3


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Hint(_Strict):
    hint: str


class _Material(_Strict, rename="camel"):
    public_key: _Hint
    tlog_entries: list[None] = []


class _Signature(_Strict):
    sig: str
    keyid: str = ""


class _Envelope(_Strict, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Bundle(_Strict, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Resource(msgspec.Struct):
    name: str
    digest: str
    algorithm: str


class _Serialization(msgspec.Struct):
    method: str
    hash_type: str


class _Predicate(msgspec.Struct):
    serialization: _Serialization
    resources: list[_Resource]


class _Subject(msgspec.Struct):
    digest: dict[str, str]


class _Statement(msgspec.Struct):
    type: str = msgspec.field(name="_type")
    subject: list[_Subject]
    predicate: _Predicate


def sign(files: Mapping[str, str], name: str, private_key: Path) -> str:
    """A bundle for files of these SHA-256 (hexadecimal, by path), made by model-signing with the key in a file that
    :func:`modelyard.registry.signing.keys.check_private_key` takes. ``name`` is only informative.

    Raises:
        InvalidRequest: there are more files than a bundle may have
    """
    from model_signing import hashing, manifest, signing

    made_as = manifest.SerializationType.from_args(
        {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []}
    )

    class Known(hashing.Config):
        """The digests that are known already, in place of those of a folder."""

        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
            digest = manifest.hashing.Digest  # type: ignore[attr-defined]
            items = [made_as.new_item(path, digest("sha256", bytes.fromhex(sha))) for path, sha in files.items()]
            return manifest.Manifest(name, items, made_as)

    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        written = Path(folder) / "bundle"
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)  # type: ignore[no-untyped-call]
        config.set_hashing_config(Known()).sign(folder, written)  # type: ignore[no-untyped-call]
        bundle = written.read_text(encoding="utf-8")
    if len(bundle) > MAX_BUNDLE:
        message = (
            f"The bundle for {len(files)} files has {len(bundle)} bytes, and at most {MAX_BUNDLE} are taken: put small "
            "files together, or sign with a secret (--hmac), which names the manifest only."
        )
        raise _refused("too_large", message)
    return bundle


def claimed_hint(bundle: str) -> str:
    """The hint of the key by which the bundle says it was made. Raises InvalidRequest: it is none."""
    return _read(bundle).verification_material.public_key.hint


def check(bundle: str, key: PublicKey, files: Mapping[str, str]) -> None:
    """That the bundle is one by this key, of just these files (SHA-256 by path).

    Raises:
        InvalidRequest: it is not, and why
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    read = _read(bundle)
    if read.verification_material.public_key.hint != key.hint:
        raise _refused("untrusted_key", "This bundle was made with another key.")
    envelope = read.dsse_envelope
    payload, signature = _decoded(envelope.payload), _decoded(envelope.signatures[0].sig)
    # The library hashes with what is as long as the key.
    by_size: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    try:
        key.key.verify(signature, _pae(payload), ec.ECDSA(by_size[key.key.key_size]))
    except InvalidSignature:
        raise _refused("bad_signature", "The signature is not that of what it should sign: it was changed.") from None
    _compare(_resources(payload), files)


def _read(bundle: str) -> _Bundle:
    if len(bundle) > MAX_BUNDLE:
        raise _refused("too_large", f"A bundle has at most {MAX_BUNDLE} bytes.")
    try:
        document = json.loads(bundle)
    except (ValueError, RecursionError):
        raise _refused("invalid_bundle", "This is no bundle: it is not JSON, or was cut off.") from None
    if _is_old(document):
        raise _refused("old_bundle", f"This bundle is of a format older than that of model-signing 1.1. {_SIGN_AGAIN}")
    material = document.get("verificationMaterial") if isinstance(document, dict) else None
    if isinstance(material, dict) and "publicKey" not in material:
        message = f"This bundle was made without a key (with a certificate or an identity). {_SIGN_AGAIN}"
        raise _refused("no_key", message)
    try:
        read = msgspec.convert(document, _Bundle)
    except msgspec.ValidationError as error:
        raise _refused("invalid_bundle", f"This is no bundle of model-signing: {error}.") from None
    envelope = read.dsse_envelope
    if read.media_type != _MEDIA_TYPE or envelope.payload_type != _PAYLOAD_TYPE:
        raise _refused("invalid_bundle", f"This is no bundle of the type {_MEDIA_TYPE} with {_PAYLOAD_TYPE} in it.")
    if len(envelope.signatures) != 1 or envelope.signatures[0].keyid or read.verification_material.tlog_entries:
        raise _refused("invalid_bundle", "A bundle made with a key has one signature, and nothing else beside it.")
    # Compact, as the library writes it since 1.1, or with blanks and without what is empty, as before.
    if bundle not in (json.dumps(document, separators=(",", ":")), json.dumps(document)):
        raise _refused("invalid_bundle", "This bundle was written anew since it was made: give the file as it was.")
    return read


def _is_old(document: Any) -> bool:
    try:
        key = document["verificationMaterial"]["publicKey"]
        if "rawBytes" in key or "keyDetails" in key or not key.get("hint"):
            return True
        payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
        return bool(payload["predicateType"] == _OLD_PREDICATE)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return False


def _decoded(text: str) -> bytes:
    """Raises InvalidRequest where it is not base64 in its one spelling."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded or base64.b64encode(decoded).decode() != text:
        raise _refused("invalid_bundle", "The bundle is damaged: something in it is not base64.")
    return decoded


def _pae(payload: bytes) -> bytes:
    """What is signed: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md."""
    return b"DSSEv1 %d %s %d " % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload)) + payload


def _resources(payload: bytes) -> Mapping[str, str]:
    """SHA-256 by path, of a payload whose signature is right."""
    try:
        document = json.loads(payload)
        if document["predicateType"] != _PREDICATE or document["_type"] != _STATEMENT:
            raise ValueError("it is no statement of model-signing 1")
        statement = msgspec.convert(document, _Statement)
        resources = statement.predicate.resources
        digest = hashlib.sha256(b"".join(bytes.fromhex(resource.digest) for resource in resources)).hexdigest()
        if [subject.digest.get("sha256") for subject in statement.subject] != [digest]:
            raise ValueError("the digest of all is not that of its parts")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _refused("invalid_bundle", f"What the bundle signs cannot be read: {error}.") from None
    made_as = statement.predicate.serialization
    if made_as.method != "files" or {made_as.hash_type, *(r.algorithm for r in resources)} != {"sha256"}:
        message = "This bundle does not sign the SHA-256 of whole files: sign again with --hash-algorithm sha256."
        raise _refused("other_hashes", message)
    found = {resource.name: resource.digest for resource in resources}
    if len(found) != len(resources):
        raise _refused("invalid_bundle", "The bundle signs a file twice.")
    return found


def _compare(signed: Mapping[str, str], files: Mapping[str, str]) -> None:
    differing = sorted(path for path in signed.keys() & files.keys() if signed[path] != files[path])
    missing, unsigned = sorted(signed.keys() - files.keys()), sorted(files.keys() - signed.keys())
    if differing or missing:
        message = (
            "This bundle signs another version: "
            + "; ".join(
                f"{what}: {_listed(paths)}"
                for what, paths in (("other content", differing), ("not there", missing), ("not signed", unsigned))
                if paths
            )
            + "."
        )
        raise _refused("other_version", message)
    if unsigned:
        message = (
            f"This bundle leaves files out: {_listed(unsigned)}. All must be signed (model_signing sign "
            "--no-ignore-git-paths, where they are git's)."
        )
        raise _refused("incomplete", message)


def _listed(paths: list[str]) -> str:
    shown = ", ".join(map(repr, paths[:_LISTED]))
    return f"{shown} and {len(paths) - _LISTED} more" if len(paths) > _LISTED else shown


def _refused(code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem("bundle", code, message)])
