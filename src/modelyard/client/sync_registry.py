"""The registry, as the blocking client has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelyard.client import cache_types, diff_types, registry_types, signing_calls, signing_types
from modelyard.client import registry_calls as requests
from modelyard.client.registry_calls import ANYWHERE, Anywhere

if TYPE_CHECKING:
    from modelyard.client.sync import Modelyard


class Registry:
    """Registered models, their versions and aliases; ``namespace`` defaults to the client's, ``"*"`` lists those of
    all. Where a version is picked, a range (``^1.4``) or an alias (``stable``) does as well."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def _ns(self, namespace: str | None) -> str:
        return namespace or self._client.namespace

    def register(
        self, name: str, *, namespace: str | None = None, description: str = "", series: str = "", task: str = "",
        licence: str = "", labels: Mapping[str, str] | None = None, reason: str = "",
    ) -> registry_types.RegisteredModel:  # fmt: skip
        """A name under which versions are published."""
        about = {
            "description": description, "series": series, "task": task, "licence": licence, "labels": labels or {},
        }  # fmt: skip
        return self._client.send(requests.register(self._ns(namespace), name, about, reason))

    def get(self, name: str, *, namespace: str | None = None) -> registry_types.RegisteredModel:
        """Also one that is deleted and can be restored."""
        return self._client.send(requests.get_registered(self._ns(namespace), name))

    def list(
        self, *, namespace: str | None = None, search: str | None = None, series: str | None = None,
        framework: str | None = None, label: Mapping[str, str] | None = None, deleted: bool = False,
        sort: str | None = None, page_size: int | None = None,
    ) -> Iterator[registry_types.RegisteredModel]:  # fmt: skip
        """All that match, page after page; ``deleted``: those that can be restored."""
        return self._client.pages(
            requests.list_registered(
                self._ns(namespace), search=search, series=series, framework=framework, label=label, deleted=deleted,
                sort=sort, page_size=page_size,
            )
        )  # fmt: skip

    def describe(
        self, name: str, change: Mapping[str, Any], *, namespace: str | None = None, reason: str = "",
        version: int | None = None,
    ) -> registry_types.RegisteredModel:  # fmt: skip
        """Change what ``change`` names of description, series, task, licence and labels, and leave the rest (a JSON
        merge patch: None removes). With ``version`` only if the model still is at that version."""
        return self._client.send(requests.describe(self._ns(namespace), name, change, reason, version))

    def delete(
        self, name: str, *, namespace: str | None = None, grace: float | str | None = None, reason: str = ""
    ) -> registry_types.RegisteredModel:
        """It can be restored until ``grace`` (seconds or ``"7d"``) is over. Refused while a served model names it."""
        return self._client.send(requests.delete_registered(self._ns(namespace), name, grace, reason))

    def restore(self, name: str, *, namespace: str | None = None, reason: str = "") -> registry_types.RegisteredModel:
        return self._client.send(requests.restore_registered(self._ns(namespace), name, reason))

    def publish(
        self, name: str, version: str, *, manifest: str, namespace: str | None = None,
        reason: str = "", **metadata: Any,
    ) -> registry_types.ModelVersion:  # fmt: skip
        """Publish what is stored under the digest ``manifest``, for good. ``metadata``: framework, signature, lineage,
        dependencies, licence, trust, description, metrics, labels and card, as the API takes them."""
        return self._client.send(requests.publish(self._ns(namespace), name, version, manifest, metadata, reason))

    def version(self, name: str, version: str, *, namespace: str | None = None) -> registry_types.ModelVersion:
        """Also one that is deleted and can be restored."""
        return self._client.send(requests.get_version(self._ns(namespace), name, version))

    def versions(
        self, name: str, *, namespace: str | None = None, range: str | None = None, framework: str | None = None,
        deleted: bool = False, page_size: int | None = None,
    ) -> Iterator[registry_types.ModelVersion]:  # fmt: skip
        """The highest first, page after page, without their cards."""
        return self._client.pages(
            requests.list_versions(
                self._ns(namespace), name, within=range, framework=framework, deleted=deleted, page_size=page_size
            )
        )

    def annotate(
        self, name: str, version: str, change: Mapping[str, Any], *, namespace: str | None = None, reason: str = "",
        edits: int | None = None,
    ) -> registry_types.ModelVersion:  # fmt: skip
        """Change what ``change`` names of description, metrics, labels and card (a JSON merge patch). With ``edits``
        only if the version still is as it was after that many."""
        return self._client.send(requests.annotate(self._ns(namespace), name, version, change, reason, edits))

    def delete_version(
        self, name: str, version: str, *, namespace: str | None = None, grace: float | str | None = None,
        reason: str = "",
    ) -> registry_types.ModelVersion:  # fmt: skip
        """It can be restored until ``grace`` is over; its number stays taken for good."""
        return self._client.send(requests.delete_version(self._ns(namespace), name, version, grace, reason))

    def restore_version(
        self, name: str, version: str, *, namespace: str | None = None, reason: str = ""
    ) -> registry_types.ModelVersion:
        return self._client.send(requests.restore_version(self._ns(namespace), name, version, reason))

    def resolve(self, name: str, pick: str = "latest", *, namespace: str | None = None) -> registry_types.ModelVersion:
        """The version that ``pick`` means now."""
        return self._client.send(requests.resolve(self._ns(namespace), name, pick))

    def diff(
        self, name: str, before: str, after: str = "latest", *, namespace: str | None = None, limit: int | None = None
    ) -> diff_types.VersionDiff:
        """What differs between two versions, each picked, also in their files; of these and of their tensors at most
        ``limit`` of each kind are listed."""
        return self._client.send(requests.diff_versions(self._ns(namespace), name, before, after, limit))

    def aliases(self, name: str, *, namespace: str | None = None) -> Sequence[registry_types.Alias]:
        """By name."""
        return self._client.send(requests.list_aliases(self._ns(namespace), name))

    def alias(self, name: str, alias: str, *, namespace: str | None = None) -> registry_types.Alias:
        return self._client.send(requests.get_alias(self._ns(namespace), name, alias))

    def set_alias(
        self, name: str, alias: str, version: str, *, namespace: str | None = None, reason: str = "",
        expected: str | Anywhere | None = ANYWHERE, force: bool = False,
    ) -> registry_types.Alias:  # fmt: skip
        """Have the alias point at a version; with ``expected`` only if it points there now (None: nowhere). With
        ``force``, which needs a reason, also at one whose accuracy drops past its limit."""
        return self._client.send(
            requests.move_alias(self._ns(namespace), name, alias, version, reason, expected, force)
        )

    def roll_back_alias(
        self, name: str, alias: str, *, namespace: str | None = None, reason: str = ""
    ) -> registry_types.Alias:
        """To where it was before its last move. That is a move as well."""
        return self._client.send(requests.roll_back_alias(self._ns(namespace), name, alias, reason))

    def remove_alias(self, name: str, alias: str, *, namespace: str | None = None, reason: str = "") -> None:
        """Its history stays."""
        self._client.send(requests.remove_alias(self._ns(namespace), name, alias, reason))

    def alias_history(
        self, name: str, alias: str, *, namespace: str | None = None, page_size: int | None = None
    ) -> Iterator[registry_types.AliasMove]:
        """The last move first, page after page."""
        return self._client.pages(requests.alias_history(self._ns(namespace), name, alias, page_size))

    def signatures(
        self, name: str, version: str, *, namespace: str | None = None
    ) -> Sequence[signing_types.VersionSignature]:
        """As they were accepted; :meth:`verification` says what they are worth now."""
        return self._client.send(signing_calls.list_signatures(self._ns(namespace), name, version))

    def add_signature(
        self, name: str, version: str, bundle: str, *, kind: str = "openssf", namespace: str | None = None,
        reason: str = "",
    ) -> signing_types.VersionSignature:  # fmt: skip
        """Keep a signature that was made elsewhere. The server reads all of the version for it, however long that
        takes."""
        return self._client.send(signing_calls.add_signature(self._ns(namespace), name, version, kind, bundle, reason))

    def verification(self, name: str, version: str, *, namespace: str | None = None) -> signing_types.Verification:
        """Check every signature of a version once more."""
        return self._client.send(signing_calls.verification(self._ns(namespace), name, version))

    def store(self) -> registry_types.RegistryStore:
        """Where the bytes are, for those who push and pull."""
        return self._client.send(requests.store())

    def files(
        self, name: str, version: str = "latest", *, namespace: str | None = None
    ) -> Sequence[registry_types.VersionFile]:
        """The files of a version, picked."""
        return self._client.send(requests.list_files(self._ns(namespace), name, version))

    def collect(self, *, grace: float | str | None = None, dry_run: bool = False) -> registry_types.Collected:
        """Remove bytes that no version names; none that are younger than ``grace`` (seconds or ``"24h"``)."""
        return self._client.send(requests.collect(grace, dry_run))

    def clean_up(self, max_size: int | str | None = None, *, dry_run: bool = False) -> cache_types.Evicted:
        """Make the cache no larger than ``max_size`` (bytes or ``"200Gi"``; None: than it is set to)."""
        return self._client.send(requests.clean_up(max_size, dry_run))
