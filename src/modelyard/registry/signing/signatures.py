"""What users ask of signatures: which keys a namespace trusts, what they have signed, and what may be served for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from modelyard.domain import signing
from modelyard.domain.errors import InvalidRequest, NotFound, Problem
from modelyard.domain.names import is_name, name_problem
from modelyard.domain.registry import RegisteredModel, Version
from modelyard.domain.shelf import Asked
from modelyard.domain.signing import (
    Ring,
    RingChange,
    SignatureKind,
    SigningChange,
    Standing,
    TrustedKey,
    VersionSignature,
)
from modelyard.domain.spec import Spec
from modelyard.registry.catalog import By, Catalog
from modelyard.registry.content.manifest import Damaged, Manifest
from modelyard.registry.content.storage import Missing, Storage
from modelyard.registry.content.stored import read_manifest
from modelyard.registry.signing import bundles, secret
from modelyard.registry.signing.checking import check_content
from modelyard.registry.signing.keys import public_key
from modelyard.registry.signing.ports import SignatureStore
from modelyard.registry.signing.secret import Secret, Signed
from modelyard.threads import apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a signature is worth now: ``valid``, it is one of this version's files by that key; ``trusted``, the key is.
    ``problem`` says why it is not both."""

    signature: VersionSignature
    key: TrustedKey
    valid: bool
    trusted: bool
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """``required``: the namespace serves models only from versions that are ``signed``, with one signature at least
    that is valid and trusted."""

    version: Version
    required: bool
    verdicts: tuple[Verdict, ...]

    @property
    def signed(self) -> bool:
        return any(verdict.valid and verdict.trusted for verdict in self.verdicts)


class Secrets:
    """The secrets of this home, each in a file that only its owner can read: ``<name>.hmac`` in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> Secret:
        """Raises InvalidRequest, saying what to do: it is not there, others can read it, it is too short."""
        path = self._folder / f"{name}{secret.SUFFIX}"
        try:
            # A name is that of a key, but who asks is not always who has checked it.
            if not is_name(name):
                raise FileNotFoundError(2, "There is none", str(path))
            return Secret.read(path)
        except FileNotFoundError:
            message = (
                f"There is no secret {name!r} on the machine of the server: put it there, in {path}, readable by its "
                "owner only (modelyard keys generate NAME --hmac makes one)."
            )
            raise InvalidRequest([Problem("kind", "no_secret", message)]) from None
        except OSError as error:
            raise InvalidRequest([Problem("kind", "no_secret", f"{error.strerror}: {path}.")]) from None


class Signatures:
    """Signatures of versions, and the keys of namespaces. ``told`` is called when events have been written."""

    def __init__(
        self, catalog: Catalog, store: SignatureStore, storage: Storage, secrets: Secrets,
        clock: Callable[[], datetime], told: Callable[[], None],
    ) -> None:  # fmt: skip
        self._catalog, self._store, self._storage, self._secrets = catalog, store, storage, secrets
        self._clock, self._told = clock, told
        # Each takes all cores, and as long as it takes.
        self._checking = asyncio.Lock()

    # ------------------------------------------------------------------ keys

    async def ring(self, namespace: str) -> Ring:
        """The keys of a namespace, revoked ones too, and its policy. Raises NotFound."""
        return await self._store.ring(namespace)

    async def key(self, namespace: str, name: str) -> TrustedKey:
        """The one that is trusted under this name, or else the last that was. Raises NotFound."""
        return (await self._store.ring(namespace)).find(name)

    async def trust(self, namespace: str, name: str, kind: SignatureKind, pem: str, by: By) -> tuple[TrustedKey, bool]:
        """The key, and whether it is new. A secret has no ``pem``: it is on this machine already.

        Raises:
            InvalidRequest: it is no key that signs models, or the secret is not there
            Refused: ``key_exists``, ``key_revoked``
        """
        problem = name_problem("path.key", name)
        if problem is not None:
            raise InvalidRequest([problem])
        if kind is SignatureKind.HMAC:
            if pem:
                message = "A secret has no public key, and is never sent: put it on the server's machine."
                raise InvalidRequest([Problem("public_key", "not_allowed", message)])
            fingerprint = (await asyncio.to_thread(self._secrets.get, name)).fingerprint
        else:
            read = await asyncio.to_thread(public_key, pem)
            pem, fingerprint = read.pem, read.fingerprint
        asked = self._asked(by)
        change = await self._change(namespace, lambda ring: signing.trust(ring, name, kind, fingerprint, pem, asked))
        assert change.key is not None
        return change.key, bool(change.events)

    async def revoke(self, namespace: str, name: str, by: By) -> TrustedKey:
        """All that it has signed counts as unsigned from now on; it is never trusted again."""
        asked = self._asked(by)
        change = await self._change(namespace, lambda ring: signing.revoke(ring, name, asked))
        assert change.key is not None
        return change.key

    async def require(self, namespace: str, required: bool, by: By) -> bool:
        """Say whether the namespace serves models from signed versions only."""
        asked = self._asked(by)
        return (await self._change(namespace, lambda ring: signing.require(ring, required, asked))).required

    # ------------------------------------------------------------------ signatures

    async def sign(
        self, namespace: str, name: str, number: str, kind: SignatureKind, bundle: str, by: By
    ) -> tuple[VersionSignature, bool]:
        """Keep a signature that was made elsewhere, if it is right and all bytes of the version in the store are what
        it signs; the signature, and whether it is new. One of the same key that is there already stays.

        Raises:
            InvalidRequest: why it is not kept
            NotFound: there is no such version
            Refused: the version is deleted, or the key was revoked meanwhile
            Unavailable: the store fails
        """
        version = await self._catalog.version(namespace, name, number)
        manifest = version.identity.content.manifest
        signed = Signed(namespace=namespace, model=name, version=number, manifest=manifest)
        key = await asyncio.to_thread(self._signer, await self._store.ring(namespace), signed, kind, bundle)
        try:
            files = await asyncio.to_thread(read_manifest, self._storage, manifest)
            await asyncio.to_thread(self._check, key, signed, bundle, files)
            for there in await self._store.signatures(namespace, name, number):
                if there.fingerprint == key.fingerprint:
                    return there, False
            async with self._checking:
                await apart(lambda: check_content(self._storage, manifest), f"check {name}@{number}")
        except (Missing, Damaged) as error:
            message = f"{name}@{number} is not whole in the store: {error.message}"
            raise InvalidRequest([Problem("version", error.code, message)]) from error
        asked = self._asked(by)
        added = VersionSignature(
            model_uid=version.model_uid, version=number, fingerprint=key.fingerprint, kind=kind, manifest=manifest,
            bundle=bundle, checked_at=asked.at, added_at=asked.at, added_by=asked.actor, reason=asked.reason,
        )  # fmt: skip

        def decide(
            ring: Ring, model: RegisteredModel, version: Version, there: VersionSignature | None
        ) -> SigningChange:
            if (model.uid, version.identity.content.manifest) != (added.model_uid, manifest):
                raise NotFound(f"{name}@{number} was deleted for good while its signature was checked.")
            return signing.sign(ring, model, version, there, added, asked)

        change = await self._store.add(namespace, name, number, key.fingerprint, decide)
        if change.events:
            self._told()
        return change.signature, bool(change.events)

    async def signatures(self, namespace: str, name: str, number: str) -> Sequence[tuple[VersionSignature, TrustedKey]]:
        """Those of a version, the first first, each with its key. Raises NotFound."""
        await self._catalog.version(namespace, name, number)
        found = await self._store.signatures(namespace, name, number)
        keys = {key.fingerprint: key for key in (await self._store.ring(namespace)).keys}
        return [(signature, keys[signature.fingerprint]) for signature in found if signature.fingerprint in keys]

    async def verify(self, namespace: str, name: str, number: str) -> Verification:
        """Check every signature of a version once more. Where the store has lost what it should be of, none is valid.
        Raises NotFound."""
        version = await self._catalog.version(namespace, name, number)
        found = await self.signatures(namespace, name, number)
        manifest = version.identity.content.manifest
        signed = Signed(namespace=namespace, model=name, version=number, manifest=manifest)
        verdicts = [await asyncio.to_thread(self._judge, key, signed, signature) for signature, key in found]
        required = (await self._store.ring(namespace)).required
        return Verification(version=version, required=required, verdicts=tuple(verdicts))

    async def problems(self, namespace: str, spec: Spec, *, required: bool = False) -> list[Problem]:
        """Why nothing may be launched from ``spec``; by the database alone, in which a signature is only once it was
        found right. ``required``: signatures are, whatever the namespace says."""
        source, artifact = spec.registered, spec.artifact
        if source is not None and artifact is not None:
            standing = await self._store.standing(
                namespace, source.name, artifact.version, artifact.manifest, required=required
            )
            return signing.launch_problems(standing, spec)
        # Most often there is nothing to refuse, whatever is required.
        found = signing.launch_problems(Standing(required=True), spec)
        return found if found and (required or (await self._store.ring(namespace)).required) else []

    # ------------------------------------------------------------------ helpers

    def _signer(self, ring: Ring, signed: Signed, kind: SignatureKind, bundle: str) -> TrustedKey:
        """The trusted key by which the bundle says it was made. Raises InvalidRequest."""
        if kind is SignatureKind.HMAC:
            fingerprint = secret.claimed_key(bundle, signed)
            matching = [key for key in ring.keys if key.kind is kind and key.fingerprint == fingerprint]
        else:
            hint = bundles.claimed_hint(bundle)
            matching = [key for key in ring.keys if key.kind is kind and public_key(key.public_key).hint == hint]
        key = next(iter(matching), None)
        if key is None or not key.is_trusted:
            where = f"in namespace {ring.namespace}"
            message = (
                f"The key of this signature is not trusted {where}: sign with one that is, or trust it first "
                "(modelyard keys trust NAME signer.pub)."
            )
            if key is not None:
                message = (
                    f"The key of this signature, {key.name}, was revoked {where}, which is for good: sign with another "
                    "key (modelyard keys list)."
                )
            raise InvalidRequest([Problem("bundle", "untrusted_key", message)])
        return key

    def _check(self, key: TrustedKey, signed: Signed, bundle: str, files: Manifest) -> None:
        """Raises InvalidRequest: it is not this version's by that key."""
        if key.kind is SignatureKind.OPENSSF:
            bundles.check(bundle, public_key(key.public_key), digests_of(files))
            return
        secret.claimed_key(bundle, signed)
        here = self._secrets.get(key.name)
        if here.fingerprint != key.fingerprint:
            message = f"The secret {key.name!r} on this machine is another one by now than the one that is trusted."
            raise InvalidRequest([Problem("kind", "no_secret", message)])
        if not here.has_signed(signed, bundle):
            message = "The signature is not that of what it should sign: it was changed."
            raise InvalidRequest([Problem("bundle", "bad_signature", message)])

    def _judge(self, key: TrustedKey, signed: Signed, signature: VersionSignature) -> Verdict:
        problem = ""
        try:
            self._check(key, signed, signature.bundle, read_manifest(self._storage, signed.manifest))
        except InvalidRequest as error:
            problem = error.problems[0].message
        except (Missing, Damaged) as error:
            problem = error.message
        valid = not problem
        if key.revoked_at is not None:
            why = f": {key.revoked_for}" if key.revoked_for else ""
            problem = problem or f"The key was revoked {key.revoked_at:%Y-%m-%d %H:%M} UTC by {key.revoked_by}{why}"
        return Verdict(signature=signature, key=key, valid=valid, trusted=key.is_trusted, problem=problem)

    async def _change(self, namespace: str, decide: Callable[[Ring], RingChange]) -> RingChange:
        change = await self._store.change_ring(namespace, decide)
        if change.events:
            self._told()
        return change

    def _asked(self, by: By) -> Asked:
        return Asked(actor=by.actor, reason=by.reason, at=self._clock())


def digests_of(manifest: Manifest) -> Mapping[str, str]:
    """The SHA-256 of each file, by path: what a bundle signs."""
    return {file.path: file.sha256 for file in manifest.files}
