"""The registry's shapes: from the domain's to the API's, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import TypeAdapter

from modelyard.api import schemas
from modelyard.api.translate import merge_patch
from modelyard.domain import registry as domain
from modelyard.registry.content.comparing import Comparison


def model_out(model: domain.RegisteredModel) -> schemas.RegisteredModel:
    return schemas.RegisteredModel(
        namespace=model.namespace,
        name=model.name,
        uid=model.uid,
        version=model.version,
        description=model.about.description,
        series=model.about.series,
        task=model.about.task,
        licence=model.about.licence,
        labels=dict(model.about.labels),
        latest=model.latest,
        created_at=model.created_at,
        updated_at=model.updated_at,
        deleted_at=model.deleted_at,
        purge_at=model.purge_at,
    )


def about_in(body: schemas.CreateRegisteredModel) -> domain.About:
    return domain.About(
        description=body.description, series=body.series, task=body.task, licence=body.licence, labels=body.labels
    )


def about_patched(about: domain.About, body: schemas.PatchRegisteredModel) -> domain.About:
    return replace(about, **_patched(about, body.model_dump(exclude_unset=True, exclude={"reason"})))


def identity_in(body: schemas.Described, content: domain.Content, trust: tuple[str, ...]) -> domain.Identity:
    framework = body.framework
    return domain.Identity(
        content=content,
        framework=domain.Framework(name=framework.name, version=framework.version) if framework else None,
        signature=domain.Signature(inputs=_tensors(body.signature.inputs), outputs=_tensors(body.signature.outputs)),
        lineage=domain.Lineage(**body.lineage.model_dump()),
        dependencies=tuple(body.dependencies),
        licence=body.licence,
        trust=trust,
    )


def _tensors(tensors: Iterable[schemas.TensorSignature]) -> tuple[domain.Tensor, ...]:
    return tuple(domain.Tensor(name=t.name, datatype=str(t.datatype), shape=tuple(t.shape)) for t in tensors)


def notes_in(body: schemas.Described) -> domain.Notes:
    return domain.Notes(description=body.description, metrics=body.metrics, labels=body.labels, card=body.card)


def notes_patched(notes: domain.Notes, body: schemas.PatchVersion) -> domain.Notes:
    return replace(notes, **_patched(notes, body.model_dump(exclude_unset=True, exclude={"reason"})))


def _patched(old: domain.About | domain.Notes, patch: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a merge patch names, with it applied; what is removed is as if it had never been said."""
    new: dict[str, Any] = {}
    for name, value in patch.items():
        before = getattr(old, name)
        if isinstance(before, Mapping):
            new[name] = {} if value is None else merge_patch(before, value)
        else:
            new[name] = "" if value is None else value
    return new


def version_out(version: domain.Version, namespace: str, name: str) -> schemas.ModelVersion:
    return schemas.ModelVersion.model_validate(_version_fields(version, namespace, name), from_attributes=True)


def version_with_card_out(version: domain.Version, namespace: str, name: str) -> schemas.ModelVersionWithCard:
    fields = {**_version_fields(version, namespace, name), "card": version.notes.card}
    return schemas.ModelVersionWithCard.model_validate(fields, from_attributes=True)


def _version_fields(version: domain.Version, namespace: str, name: str) -> dict[str, Any]:
    identity, notes = version.identity, version.notes
    return {
        "namespace": namespace,
        "name": name,
        "version": version.version,
        "manifest": identity.content.manifest,
        "size": identity.content.size,
        "files": identity.content.files,
        "framework": identity.framework,
        "signature": identity.signature,
        "lineage": identity.lineage,
        "dependencies": list(identity.dependencies),
        "licence": identity.licence,
        "trust": list(identity.trust),
        "description": notes.description,
        "metrics": dict(notes.metrics),
        "labels": dict(notes.labels),
        "published_at": version.published_at,
        "published_by": version.published_by,
        "reason": version.reason,
        "edits": version.edits,
        "deleted_at": version.deleted_at,
        "purge_at": version.purge_at,
    }


def diff_out(before: domain.Version, after: domain.Version, content: Comparison | None) -> schemas.VersionDiff:
    return schemas.VersionDiff(
        before=before.version,
        after=after.version,
        changes=[
            schemas.VersionChange(path=change.path, before=_plain(change.before), after=_plain(change.after))
            for change in domain.differences(before, after)
        ],
        content=None if content is None else schemas.ContentDiff.model_validate(content, from_attributes=True),
    )


def alias_out(alias: domain.Alias) -> schemas.Alias:
    return schemas.Alias.model_validate(alias, from_attributes=True)


def move_out(move: domain.AliasMove) -> schemas.AliasMove:
    return schemas.AliasMove(
        alias=move.alias,
        number=move.number,
        kind=move.kind,
        before=move.before,
        after=move.after,
        at=move.at,
        actor=move.actor,
        reason=move.reason,
    )


_json: Final = TypeAdapter(Any).dump_python


def _plain(value: Any) -> Any:
    """A field's value, whatever it is made of, as JSON."""
    return _json(value, mode="json")
