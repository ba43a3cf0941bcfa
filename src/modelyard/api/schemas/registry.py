"""Registered models, their versions and aliases, as they are sent and as they are given.

Each field is checked by its rule of :mod:`modelyard.domain.registry_rules` as it is read, so that what is wrong with
one is said beside what is wrong with the others' shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

from modelyard.api.schemas.base import In, Size, Whole
from modelyard.api.schemas.comparing import ContentDiff
from modelyard.api.schemas.requests import Reasoned
from modelyard.domain import registry_rules as rules
from modelyard.domain.names import NAME_RULE
from modelyard.domain.registry import Datatype, MoveKind, Trusted
from modelyard.domain.transfers import Bump

T = TypeVar("T")


def _by(rule: Callable[[T], rules.Complaint]) -> AfterValidator:
    def check(value: T) -> T:
        if complaint := rule(value):
            raise ValueError(complaint)
        return value

    return AfterValidator(check)


Line = Annotated[str, _by(rules.line_complaint)]
Word = Annotated[str, _by(rules.word_complaint)]
Description = Annotated[str, _by(rules.description_complaint)]
Series = Annotated[str, _by(rules.series_complaint)]
Card = Annotated[str, _by(rules.card_complaint)]
Number = Annotated[str, _by(rules.version_complaint)]
_LabelKey = Annotated[str, _by(rules.label_key_complaint)]
_LabelValue = Annotated[str, _by(rules.label_value_complaint)]
_MetricName = Annotated[str, _by(rules.metric_name_complaint)]
_Metric = Annotated[float, Strict(), _by(rules.metric_complaint)]

_NUMBER = "A semantic version (2.0.0) without build metadata; published once and for good."
_CARD = "Markdown, at most 256 KiB."
_LICENCE = "An SPDX expression, where there is one."
_TRUST = (
    "What may be among its files because it is trusted: source code (code), and what runs code when it is loaded "
    "(pickle). Other such files are refused."
)
_MERGED = "A JSON merge patch (RFC 7396): what is left out stays, null removes."


def _sized(rule: Callable[[int], rules.Complaint]) -> AfterValidator:
    def complaint(things: Sized) -> rules.Complaint:
        return rule(len(things))

    return _by(complaint)


Labels = Annotated[dict[_LabelKey, _LabelValue], _sized(rules.labels_complaint)]
Metrics = Annotated[dict[_MetricName, _Metric], _sized(rules.metrics_complaint)]


# ------------------------------------------------------------------------------------------- requests


class CreateRegisteredModel(Reasoned):
    name: str = Field(description=NAME_RULE, examples=["pat"])
    description: Description = ""
    series: Series = Field("", description="The family that the model belongs to.", examples=["pat-large"])
    task: Line = Field("", description="What it is for.", examples=["text-classification"])
    licence: Line = Field("", description=f"Of its versions, unless they say otherwise. {_LICENCE}")
    labels: Labels = Field(default_factory=dict)


class PatchRegisteredModel(Reasoned):
    __doc__ = _MERGED

    description: Description | None = None
    series: Series | None = None
    task: Line | None = None
    licence: Line | None = None
    labels: dict[_LabelKey, _LabelValue | None] | None = None


class Framework(In):
    """What a model was made with."""

    name: Annotated[str, _by(rules.framework_complaint)] = Field(examples=["onnx"])
    version: Line = ""


class TensorSignature(In):
    """An input or output."""

    name: Word
    datatype: Datatype
    shape: Annotated[list[Whole], _by(rules.shape_complaint)] = Field(
        default_factory=list, description="-1 where any length goes."
    )


def _names(tensors: list[TensorSignature]) -> rules.Complaint:
    return rules.names_complaint(tensor.name for tensor in tensors)


class Signature(In):
    inputs: Annotated[list[TensorSignature], _by(_names)] = Field(default_factory=list)
    outputs: Annotated[list[TensorSignature], _by(_names)] = Field(default_factory=list)


class Lineage(In):
    """Where a version comes from."""

    parent: Annotated[str, _by(rules.parent_complaint)] = Field(
        "", description="The version that it was made of: 1.3.0 of this model, or name@1.3.0 of another."
    )
    dataset: Line = ""
    training_run: Line = ""
    code_revision: Line = ""
    source: Annotated[str, _by(rules.source_complaint)] = Field(
        "",
        description="The address that its files were fetched from, with which ones they were there (a commit, a "
        "version, an ETag), and without anything secret.",
        examples=["hf://org/name@0123456789abcdef0123456789abcdef01234567"],
    )


class Described(Reasoned):
    """What a version is beside its bytes, and what is said of it."""

    framework: Framework | None = None
    signature: Signature = Field(default_factory=Signature)
    lineage: Lineage = Field(default_factory=Lineage)
    dependencies: Annotated[list[Word], _sized(rules.dependencies_complaint)] = Field(default_factory=list)
    licence: Line = Field("", description=f"The model's, if it is left out. {_LICENCE}")
    trust: list[Trusted] = Field(default_factory=list, description=_TRUST)
    description: Description = ""
    metrics: Metrics = Field(default_factory=dict)
    labels: Labels = Field(default_factory=dict)
    card: Card = Field("", description=_CARD)


class PublishVersion(Described):
    """What a version is, and what is said of it."""

    version: Number = Field(description=_NUMBER, examples=["1.4.2", "2.0.0-rc.1"])
    manifest: Annotated[str, _by(rules.manifest_complaint)] = Field(
        description="The digest of the record of its bytes.", examples=[f"sha256:{'0' * 64}"]
    )


class ImportVersion(Described):
    """A source that the server fetches, and what the version made of it is to be."""

    source: str = Field(
        max_length=4096,
        description="https://, s3://, gs://, az://, hf://, mlflow://, oci://, registry://; file:// only below the "
        "folders that the administrator allows. No secrets: these are in the server's environment.",
        examples=["hf://org/name@main"],
    )
    version: Number | None = Field(None, description=f"{_NUMBER} This or `bump`.", examples=["1.4.2"])
    bump: Bump | None = Field(None, description="The number after the latest one, found when it is published.")
    aliases: list[str] = Field(default_factory=list, max_length=100, description="Which are to point at it then.")
    include: list[str] = Field(
        default_factory=list, description="Only files of which the path at the source is like one of these.",
        examples=[["*.safetensors", "*.json"]],
    )  # fmt: skip
    exclude: list[str] = Field(default_factory=list, description="No files of which the path is like one of these.")


class PatchVersion(Reasoned):
    __doc__ = f"{_MERGED} What a version is, its bytes and where they come from, never changes."

    description: Description | None = None
    metrics: dict[_MetricName, _Metric | None] | None = None
    labels: dict[_LabelKey, _LabelValue | None] | None = None
    card: Card | None = Field(None, description=_CARD)


class MoveAlias(Reasoned):
    version: Number = Field(description="Where the alias is to point.", examples=["1.4.2"])
    expected: Number | None = Field(
        None, description="Only if it points there now (null: nowhere); left out, from wherever it is."
    )
    force: bool = Field(False, description="Also at a version whose accuracy drops past its limit; needs a reason.")


# ------------------------------------------------------------------------------------------- answers


class RegisteredModel(BaseModel):
    """A name under which versions are published. One with `deleted_at` can be restored until `purge_at`."""

    namespace: str
    name: str
    uid: str
    version: int = Field(description="Grows with every write of anything under the name: the ETag.")
    description: str
    series: str
    task: str
    licence: str
    labels: dict[str, str]
    latest: str | None = Field(description="The version that `latest` means.")
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    purge_at: datetime | None


class ModelVersion(BaseModel):
    """A published version. One with `deleted_at` can be restored until `purge_at`."""

    namespace: str
    name: str
    version: str
    manifest: str
    size: Size
    files: int
    framework: Framework | None
    signature: Signature
    lineage: Lineage
    dependencies: list[str]
    licence: str
    trust: list[Trusted] = Field(description="What is among its files because it was trusted.")
    description: str
    metrics: dict[str, float]
    labels: dict[str, str]
    published_at: datetime
    published_by: str
    reason: str
    edits: int = Field(description="How often what is said of it was changed: the ETag.")
    deleted_at: datetime | None
    purge_at: datetime | None


class ModelVersionWithCard(ModelVersion):
    card: str


class VersionChange(BaseModel):
    """One field that differs, by its path; a value that is not there is null."""

    path: str
    before: Any
    after: Any


class VersionDiff(BaseModel):
    """What differs between two versions."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    before: str = Field(alias="from")
    after: str = Field(alias="to")
    changes: list[VersionChange] = Field(description="Of what they are, and of what is said of them.")
    content: ContentDiff | None = Field(description="Of their files; null where the store has not both manifests.")


class Alias(BaseModel):
    """Where an alias points, and since when, by whom and why."""

    alias: str
    version: str
    moved_at: datetime
    moved_by: str
    reason: str
    moves: int = Field(description="How often it was moved: the ETag.")


class AliasMove(BaseModel):
    """One move of an alias; from nowhere or to nowhere is null."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    alias: str
    number: int
    kind: MoveKind
    before: str | None = Field(alias="from")
    after: str | None = Field(alias="to")
    at: datetime
    actor: str
    reason: str
