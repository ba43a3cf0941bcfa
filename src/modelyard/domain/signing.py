"""Who may vouch for versions, and what follows from it: pure functions from a namespace's keys to a change.

A key is trusted in one namespace under a name, until it is revoked, which is for good. A version that was signed is
signed by a key's fingerprint, so that what becomes of the key decides, at every look, what its signatures are worth.
How signatures are made and checked is elsewhere (:mod:`modelyard.registry.signing`).

Where signatures are required, :func:`launch_problems` says what of a spec nobody can have signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from modelyard.domain.errors import NotFound, Problem, Refused
from modelyard.domain.model import Event
from modelyard.domain.registry import RegisteredModel, Version
from modelyard.domain.shelf import Asked
from modelyard.domain.spec import Engine, Spec

# Of a bundle, in bytes.
MAX_BUNDLE = 2**20
# Of a public key in PEM, in characters: the largest that is taken has 268.
MAX_PUBLIC_KEY = 4096
# The variables that a spec may set where signatures are required, whole and by how they begin. Of any other nobody
# knows whether it names code or files to a loader, an interpreter or a library (LD_PRELOAD, PYTHONPATH, HOME, …).
FREE_VARIABLES: Final = (
    "TZ", "LANG", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM",
)  # fmt: skip
FREE_PREFIXES: Final = ("LC_", "MODEL_")


class SignatureKind(StrEnum):
    OPENSSF = "openssf"  # an OpenSSF model-signing bundle, by an ECDSA key: anybody can check it
    HMAC = "hmac"  # by a secret that the signer and this installation share


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key of a namespace. ``fingerprint``: 64 hexadecimal digits, the SHA-256 of the public key in DER, or of a
    secret the HMAC of a fixed word. ``public_key`` is in PEM, empty for a secret. One with ``revoked_at`` is trusted no
    more, and kept for the history."""

    namespace: str
    name: str
    kind: SignatureKind
    fingerprint: str
    trusted_at: datetime
    trusted_by: str
    reason: str = ""
    public_key: str = ""
    revoked_at: datetime | None = None
    revoked_by: str = ""
    revoked_for: str = ""

    @property
    def is_trusted(self) -> bool:
        return self.revoked_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSignature:
    """One signature of a version, as it was accepted: its ``bundle`` signs the files of ``manifest``. ``checked_at``:
    when the version's bytes in the store were all read and found to be what is signed."""

    model_uid: str
    version: str
    fingerprint: str
    kind: SignatureKind
    manifest: str
    bundle: str
    checked_at: datetime
    added_at: datetime
    added_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """The keys of a namespace, revoked ones too (by name, the last trusted first), and whether models are served there
    from signed versions of registered models only (``required``)."""

    namespace: str
    required: bool = False
    keys: tuple[TrustedKey, ...] = ()

    def by_fingerprint(self, fingerprint: str) -> TrustedKey | None:
        return next((key for key in self.keys if key.fingerprint == fingerprint), None)

    def trusted(self, name: str) -> TrustedKey | None:
        """The one that is called so and not revoked."""
        return next((key for key in self.keys if key.name == name and key.is_trusted), None)

    def find(self, name: str) -> TrustedKey:
        """The one that is trusted, or else the last that was, under this name. Raises NotFound."""
        found = self.trusted(name) or next((key for key in self.keys if key.name == name), None)
        if found is None:
            raise NotFound(f"There is no key {name!r} in namespace {self.namespace!r}. See: modelyard keys list")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RingChange:
    """One transaction: a key as it is to be, and whether signatures are required. One without events writes nothing."""

    required: bool
    key: TrustedKey | None = None
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningChange:
    """One transaction: a signature that is added to a version of ``model``. One without events writes nothing."""

    model: RegisteredModel
    signature: VersionSignature
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who vouches for a version's bytes: whether the namespace requires anybody to, and the keys, trusted or revoked,
    of the signatures of just these bytes under this number."""

    required: bool
    signed_by: tuple[TrustedKey, ...] = ()

    def problem(self, what: str, path: str) -> Problem | None:
        """Why nothing may be launched from the version ``what`` (``pat@1.4.2``)."""
        if not self.required or any(key.is_trusted for key in self.signed_by):
            return None
        if not self.signed_by:
            message = (
                f"{what} is not signed, and this namespace serves models from signed versions only: sign it "
                f"(modelyard sign {what} --key FILE) with a key that the namespace trusts, or take a signed version."
            )
            return Problem(path, "unsigned", message)
        message = (
            f"{what} is signed by no key that is still trusted: {_listed([_revoked(key) for key in self.signed_by])}. "
            f"Sign it with one that is (modelyard sign {what} --key FILE), or take another version."
        )
        return Problem(path, "untrusted_key", message)


# ------------------------------------------------------------------------------------------- launches


def launch_problems(standing: Standing, spec: Spec) -> list[Problem]:
    """Why nothing may be launched from ``spec`` now, all at once, at paths relative to it; ``standing`` is that of the
    version it is made of.

    A signature vouches for the version's files, also for the code in them (``model.py``, a pickle with ``trusted``).
    So what remains to be refused is whatever else could run, or be loaded, in an instance.
    """
    if not standing.required:
        return []
    return [*_source_problems(standing, spec), *_brought(spec)]


def launch_refusal(problems: Sequence[Problem], allowed: Sequence[str] = ()) -> Refused:
    """The refusal of a command without a request that the problems could be found in."""
    return Refused(problems[0].code, " ".join(problem.message for problem in problems), allowed)


def _source_problems(standing: Standing, spec: Spec) -> Iterator[Problem]:
    reference = spec.registered
    if spec.source is None and spec.artifact is None:
        return  # it loads nothing, or cannot be launched
    if reference is None:
        message = (
            "This namespace serves models from signed versions of registered models only: push the files (modelyard "
            "push), sign the version (modelyard sign) and take it as the source."
        )
        yield Problem("source", "unsigned", message)
    elif spec.artifact is not None:  # what could not be resolved has a problem of its own
        problem = standing.problem(f"{reference.name}@{spec.artifact.version}", "source")
        if problem is not None:
            yield problem


def _brought(spec: Spec) -> Iterator[Problem]:
    """What comes with the spec, not with a version, so that nobody can have signed it."""
    container = spec.container
    if spec.engine is Engine.COMMAND:
        message = (
            "A command is nothing that anybody can have signed, and this namespace serves signed versions only: take "
            "an engine that loads a signed version of a registered model."
        )
        yield Problem("engine", "unsigned", message)
    if container.health_check.command:
        message = (
            "A health check's command is nothing that anybody can have signed, and this namespace serves signed "
            "versions only: leave container.health_check.command out; the engine's own check stays."
        )
        yield Problem("container.health_check.command", "unsigned", message)
    if container.working_dir is not None:
        message = (
            "The files of a working folder are not signed, and this namespace serves signed versions only: leave "
            "container.working_dir out, and push what the model reads with its version."
        )
        yield Problem("container.working_dir", "unsigned", message)
    for name in container.environment:
        if name not in FREE_VARIABLES and not name.startswith(FREE_PREFIXES):
            allowed = ", ".join((*FREE_VARIABLES, *(f"{prefix}…" for prefix in FREE_PREFIXES)))
            message = (
                f"The variable {name} could bring code or files that are not signed, and this namespace serves signed "
                f"versions only: leave it out. Allowed are {allowed}."
            )
            yield Problem(f"container.environment.{name}", "unsigned", message)


# ------------------------------------------------------------------------------------------- keys


def trust(ring: Ring, name: str, kind: SignatureKind, fingerprint: str, public_key: str, asked: Asked) -> RingChange:
    """Trust a key under a name. The same once more is no change."""
    there, named = ring.by_fingerprint(fingerprint), ring.trusted(name)
    if there is not None and not there.is_trusted:
        raise Refused("key_revoked", f"This key was trusted as {_revoked(there)}. That is for good: make a new key.")
    if there is not None and there.name == name:
        return RingChange(required=ring.required, key=there)
    if there is not None:
        raise Refused("key_exists", f"This key is trusted already, as {there.name!r}.")
    if named is not None:
        raise Refused(
            "key_exists",
            f"Another key is trusted as {name!r}: choose another name, or revoke that one first, with which all that "
            "it has signed is unsigned.",
            ["revoke"],
        )
    key = TrustedKey(
        namespace=ring.namespace, name=name, kind=kind, fingerprint=fingerprint, public_key=public_key,
        trusted_at=asked.at, trusted_by=asked.actor, reason=asked.reason,
    )  # fmt: skip
    message = f"The key {name} ({fingerprint[:16]}) is trusted to sign versions."
    return RingChange(required=ring.required, key=key, events=(_event(ring, "KeyTrusted", asked, message, key),))


def revoke(ring: Ring, name: str, asked: Asked) -> RingChange:
    """From now on nothing that the key has signed counts as signed by it."""
    key = ring.find(name)
    if not key.is_trusted:
        return RingChange(required=ring.required, key=key)
    key = replace(key, revoked_at=asked.at, revoked_by=asked.actor, revoked_for=asked.reason)
    message = f"The key {name} ({key.fingerprint[:16]}) is revoked: what it has signed counts as unsigned."
    return RingChange(required=ring.required, key=key, events=(_event(ring, "KeyRevoked", asked, message, key),))


def require(ring: Ring, required: bool, asked: Asked) -> RingChange:
    """Say whether the namespace serves models from signed versions only."""
    if required == ring.required:
        return RingChange(required=required)
    words = "signed versions only" if required else "unsigned versions too"
    message = f"Namespace {ring.namespace} serves models from {words} from now on."
    event = _event(ring, "SignaturesRequired" if required else "SignaturesNotRequired", asked, message)
    return RingChange(required=required, events=(event,))


# ------------------------------------------------------------------------------------------- signatures


def sign(
    ring: Ring, model: RegisteredModel, version: Version, there: VersionSignature | None, signature: VersionSignature,
    asked: Asked,
) -> SigningChange:  # fmt: skip
    """Add a signature that was checked. ``there`` is the one that the version has of the same key: it stays."""
    name = f"{model.name}@{version.version}"
    if model.deleted_at is not None or version.deleted_at is not None:
        raise Refused("version_deleted", f"{name} is deleted. Restore it before you sign it.", ["restore"])
    key = ring.by_fingerprint(signature.fingerprint)
    if key is None or not key.is_trusted:
        raise Refused(
            "untrusted_key", f"The key of this signature was revoked while it was checked: {name} is unsigned."
        )
    if there is not None:
        return SigningChange(model=model, signature=there)
    after = replace(model, updated_at=asked.at)
    data = {"version": version.version, "key": key.name, "fingerprint": key.fingerprint, "kind": str(signature.kind)}
    event = Event(
        at=asked.at, namespace=model.namespace, model=model.name, model_uid=model.uid, type="VersionSigned",
        reason=asked.reason or "VersionSigned", message=f"{name} is signed by {key.name}.", actor=asked.actor,
        data=data,
    )  # fmt: skip
    return SigningChange(model=after, signature=signature, events=(event,))


# ------------------------------------------------------------------------------------------- helpers


def _event(ring: Ring, type_: str, asked: Asked, message: str, key: TrustedKey | None = None) -> Event:
    data: Mapping[str, Any] = {}
    if key is not None:
        data = {"key": key.name, "fingerprint": key.fingerprint, "kind": str(key.kind)}
    return Event(
        at=asked.at, namespace=ring.namespace, model="", model_uid="", type=type_, reason=asked.reason or type_,
        message=message, actor=asked.actor, data=data,
    )  # fmt: skip


def _revoked(key: TrustedKey) -> str:
    assert key.revoked_at is not None
    why = f" ({key.revoked_for})" if key.revoked_for else ""
    return f"{key.name}, revoked {key.revoked_at:%Y-%m-%d %H:%M} UTC{why}"


def _listed(names: Sequence[str]) -> str:
    shown = "; ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
