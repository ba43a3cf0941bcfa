"""Signatures of versions, the keys that a namespace trusts, and whether it requires signatures.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response

from modelyard.api import schemas
from modelyard.api.context import CallerDep, Reason, Services, ToAdminister, ToEdit, ToRead, answer, by
from modelyard.domain import signing as domain
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.registry.signing.signatures import Verdict, Verification

RegisteredName = Annotated[str, Path(description="The registered model's name.", examples=["pat"])]
Number = Annotated[str, Path(description="The version's number.", examples=["1.4.2"])]
KeyName = Annotated[str, Path(description="The key's name.", examples=["release"])]

_KEPT_KEY: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.TrustedKey, "description": "It is trusted already."}
}
_KEPT: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.VersionSignature, "description": "The version has one of this key already."}
}


async def _short_form() -> str:
    return DEFAULT_NAMESPACE


async def _long_form(namespace: Annotated[str, Path(description="The namespace's name.")]) -> str:
    return namespace


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """The routes below one registered model."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get(
        "/{name}/versions/{version}/signatures", response_model=schemas.Items[schemas.VersionSignature],
        summary="Signatures of a version",
    )  # fmt: skip
    async def signatures(name: RegisteredName, version: Number, ns: Namespace, services: ToRead) -> Response:
        """As they were accepted; what they are worth now says the verification."""
        found = await services.signatures.signatures(ns, name, version)
        items = [_signature_out(signature, key) for signature, key in found]
        return answer(schemas.Items[schemas.VersionSignature](items=items))

    @router.post(
        "/{name}/versions/{version}/signatures", status_code=201, response_model=schemas.VersionSignature,
        responses=_KEPT, summary="Sign a version",
    )  # fmt: skip
    async def sign(
        name: RegisteredName, version: Number, body: schemas.SignVersion, ns: Namespace, caller: CallerDep,
        services: ToEdit,
    ) -> Response:  # fmt: skip
        """The signature was made elsewhere; no private key is ever sent. It is kept if it is by a key that the
        namespace trusts, of just the version's files, and if all bytes in the store are these: they are read for it."""
        added, new = await services.signatures.sign(ns, name, version, body.kind, body.bundle, by(caller, body.reason))
        ring = await services.signatures.ring(ns)
        return answer(_signature_out(added, ring.by_fingerprint(added.fingerprint)), 201 if new else 200)

    @router.get(
        "/{name}/versions/{version}/verification", response_model=schemas.Verification,
        summary="What the signatures of a version are worth",
    )  # fmt: skip
    async def verification(name: RegisteredName, version: Number, ns: Namespace, services: ToRead) -> Response:
        """Each is checked once more."""
        return answer(_verification_out(await services.signatures.verify(ns, name, version)))


def build_router(prefix: str, namespace: Callable[..., Awaitable[str]], tag: str) -> APIRouter:
    """The keys and the policy, for one path form."""
    router = APIRouter(prefix=prefix, tags=[tag])
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/keys", response_model=schemas.Items[schemas.TrustedKey], summary="Keys that may sign versions")
    async def list_keys(ns: Namespace, services: ToRead) -> Response:
        """By name; also those that were revoked."""
        ring = await services.signatures.ring(ns)
        return answer(schemas.Items[schemas.TrustedKey](items=[_key_out(key) for key in ring.keys]))

    @router.get("/keys/{key}", response_model=schemas.TrustedKey, summary="One key")
    async def get_key(key: KeyName, ns: Namespace, services: ToRead) -> Response:
        """The one that is trusted under this name, or else the last that was."""
        return answer(_key_out(await services.signatures.key(ns, key)))

    @router.put(
        "/keys/{key}", status_code=201, response_model=schemas.TrustedKey, responses=_KEPT_KEY, summary="Trust a key"
    )
    async def trust_key(
        key: KeyName, body: schemas.TrustKey, ns: Namespace, caller: CallerDep, services: ToAdminister
    ) -> Response:
        """Under this name. One that was revoked is never trusted again."""
        trusted, new = await services.signatures.trust(ns, key, body.kind, body.public_key, by(caller, body.reason))
        return answer(_key_out(trusted), 201 if new else 200)

    @router.delete("/keys/{key}", response_model=schemas.RevokedKey, summary="Revoke a key")
    async def revoke_key(
        key: KeyName, ns: Namespace, caller: CallerDep, services: ToAdminister, reason: Reason = ""
    ) -> Response:
        """For good. All that it has signed counts as unsigned at once; what runs of that goes on until it ends."""
        revoked = await services.signatures.revoke(ns, key, by(caller, reason))
        stuck = await services.checks.not_startable(ns)
        return answer(schemas.RevokedKey(**_key_out(revoked).model_dump(), not_startable=stuck))

    @router.get("/policy", response_model=schemas.SignaturePolicy, summary="Whether signatures are required")
    async def get_policy(ns: Namespace, services: ToRead) -> Response:
        ring = await services.signatures.ring(ns)
        return answer(await _policy_out(ns, ring.required, services))

    @router.put("/policy", response_model=schemas.SignaturePolicy, summary="Say whether signatures are required")
    async def set_policy(
        body: schemas.SetSignaturePolicy, ns: Namespace, caller: CallerDep, services: ToAdminister
    ) -> Response:
        """Where they are, models are launched from versions of registered models that a trusted key has signed, and
        from nothing else: no files, no commands (of an engine or a health check), no working folder, and no variables
        but those that bring no code. What runs goes on, but is not started again."""
        required = await services.signatures.require(ns, body.require_signature, by(caller, body.reason))
        return answer(await _policy_out(ns, required, services))

    return router


async def _policy_out(namespace: str, required: bool, services: Services) -> schemas.SignaturePolicy:
    stuck = await services.checks.not_startable(namespace) if required else []
    return schemas.SignaturePolicy(require_signature=required, not_startable=stuck)


def _key_out(key: domain.TrustedKey) -> schemas.TrustedKey:
    return schemas.TrustedKey.model_validate(key, from_attributes=True)


def _signature_out(signature: domain.VersionSignature, key: domain.TrustedKey | None) -> schemas.VersionSignature:
    return schemas.VersionSignature(
        kind=signature.kind,
        key=key.name if key is not None else "",
        fingerprint=signature.fingerprint,
        manifest=signature.manifest,
        bundle=signature.bundle,
        content_checked_at=signature.checked_at,
        added_at=signature.added_at,
        added_by=signature.added_by,
        reason=signature.reason,
    )


def _verification_out(found: Verification) -> schemas.Verification:
    return schemas.Verification(
        version=found.version.version,
        manifest=found.version.identity.content.manifest,
        signed=found.signed,
        required=found.required,
        signatures=[_verdict_out(verdict) for verdict in found.verdicts],
    )


def _verdict_out(verdict: Verdict) -> schemas.SignatureVerdict:
    signature = verdict.signature
    return schemas.SignatureVerdict(
        kind=signature.kind,
        key=verdict.key.name,
        fingerprint=signature.fingerprint,
        valid=verdict.valid,
        trusted=verdict.trusted,
        problem=verdict.problem,
        content_checked_at=signature.checked_at,
        added_at=signature.added_at,
        added_by=signature.added_by,
    )


def routers() -> list[APIRouter]:
    return [
        build_router("/registry", _short_form, "registry"),
        build_router("/namespaces/{namespace}/registry", _long_form, "registry by namespace"),
    ]
