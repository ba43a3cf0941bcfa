"""``mlflow://``: models and runs of an MLflow server, with MLflow's own client (``MLFLOW_TRACKING_URI`` and whatever
else it reads).

That client gives whole files, and the server no digests: a fetch that was cut off goes on with the next file, and of
what arrived only the size is checked. Where the files are in a bucket, they are read there, as from ``s3://``.

Where a run's files are is what whoever made the run has told the server. For a caller they are read only from where
that cannot lead astray: this machine's files, and hosts that the administrator did not name, are not.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from modelyard.domain.errors import InvalidRequest, NotFound, Problem, Unavailable
from modelyard.registry.admitting import USERS, Hosts
from modelyard.registry.content.cutting import Progress
from modelyard.registry.formats.names import shown
from modelyard.registry.sources import buckets
from modelyard.registry.sources.address import Address, parse, scrubbed
from modelyard.registry.sources.files import Damaged, check_names, prune
from modelyard.registry.sources.picking import Picking
from modelyard.registry.sources.working import Crew

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

MISSING = "mlflow:// needs MLflow's client: pip install 'modelyard[mlflow]'"
_STATE: Final = "state.json"
_BUCKETS: Final = ("s3://", "gs://")
# Azure's own hosts; the account is the administrator's, by the credentials.
_AZURE: Final = ("wasbs", "abfss")
_AZURE_PLACE: Final = re.compile(r"[\w$-]+@[a-z0-9]{3,24}\.(blob|dfs)\.core\.windows\.net")
_SERVED: Final = ("mlflow-artifacts", "http", "https")
# A version is of a model, which is of a run.
_DEPTH: Final = 4
_REASON: Final = 300


class _Artifact(NamedTuple):
    """Where it is in the repository, and how many bytes it has, as far as that is said."""

    place: str
    size: int | None


def fetch(address: Address, to: Path, picking: Picking, progress: Progress | None = None, hosts: Hosts = USERS) -> str:
    """The files below ``to``; what they were, with the version's number.

    Raises:
        InvalidRequest: names that may not be in a version, or MLflow keeps them where they may not be read
        NotFound, Unavailable, Damaged: they cannot be had
    """
    try:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    except ImportError:
        raise Unavailable(MISSING) from None

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise Unavailable("MLFLOW_TRACKING_URI is not set: it says where MLflow is.")
    # Its bars would be drawn over whatever shows the progress here.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with _mlflow_errors(address):
        uri, below, resolved = _resolved(address)
        if hosts.for_caller:
            uri = _concrete(uri)
            _check(uri, hosts)
        if uri.startswith(_BUCKETS):
            buckets.fetch(parse("/".join(filter(None, (uri.rstrip("/"), below)))), to, picking, progress)
            return resolved
        repository = get_artifact_repository(uri)
        found = {path: one for path, one in _listed(repository, below) if picking.wants(path)}
    if not found:
        raise NotFound(f"There is nothing at {address}, or nothing of it is wanted.")
    check_names(list(found))
    _begin(to, json.dumps([resolved, uri]))
    prune(to, set(found))
    with _mlflow_errors(address):
        _Fetching(repository, to, found, progress).run()
    return resolved


def _resolved(address: Address) -> tuple[str, str, str]:
    """Where MLflow keeps it, what of it is meant, and its name for good."""
    from mlflow import MlflowClient

    client = MlflowClient()
    if address.place == "runs":
        run, _, path = address.path.partition("/")
        return str(client.get_run(run).info.artifact_uri), path, str(address)
    name, pick = address.path, address.pick
    if pick.startswith("@"):
        pick = str(client.get_model_version_by_alias(name, pick[1:]).version)
    return str(client.get_model_version_download_uri(name, pick)), "", f"mlflow://models/{name}/{pick}"


def _concrete(uri: str) -> str:
    """Where the files are, for one that names a run or a model, whose own files may again be anywhere."""
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
    from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

    for _ in range(_DEPTH):
        scheme = uri.partition(":")[0]
        if scheme == "models":
            uri, path = ModelsArtifactRepository.split_models_uri(uri)  # type: ignore[no-untyped-call]
            uri = "/".join(filter(None, (ModelsArtifactRepository.get_underlying_uri(uri).rstrip("/"), path)))  # type: ignore[no-untyped-call]
        elif scheme == "runs":
            uri = RunsArtifactRepository.get_underlying_uri(uri)
        else:
            break
    return uri


def _check(uri: str, hosts: Hosts) -> None:
    """Raises InvalidRequest: whoever said that the files are there may have this server read what is not theirs."""
    try:
        parts = urlsplit(uri)
        scheme, host = parts.scheme, parts.hostname or ""
    except ValueError:
        scheme = host = ""
    if scheme in ("s3", "gs") or (scheme in _AZURE and _AZURE_PLACE.fullmatch(parts.netloc)):
        return
    if scheme in _SERVED:
        # Of itself a server leads nowhere; its answers may, and the client looks at no address that it connects to.
        own = urlsplit(os.environ["MLFLOW_TRACKING_URI"]).hostname or ""
        if host in ("", own) or hosts.names(host):
            return
    message = (
        f"MLflow keeps this at {shown(scheme) or 'no scheme'}://{shown(host)}, which the server does not read for its "
        "callers. Fetch the files yourself, and push them (modelyard push); its administrator can name a host of http "
        "or https in MODELYARD_IMPORT_HOSTS."
    )
    raise InvalidRequest([Problem("source", "source_refused", message)])


def _listed(repository: ArtifactRepository, root: str) -> Iterator[tuple[str, _Artifact]]:
    """Every file below ``root``, or the one that it is, by the path that it is to have."""
    pending, is_empty = [root], True
    while pending:
        folder = pending.pop()
        for info in repository.list_artifacts(folder or None):
            is_empty = False
            if info.is_dir:
                pending.append(info.path)
            else:
                yield info.path[len(root) :].lstrip("/") if root else info.path, _Artifact(info.path, info.file_size)
    if is_empty and root:
        above, _, name = root.rpartition("/")
        for info in repository.list_artifacts(above or None):
            if info.path == root and not info.is_dir:
                yield name, _Artifact(info.path, info.file_size)


def _parts(to: Path) -> Path:
    return to.with_name(f"{to.name}.parts")


def _begin(to: Path, state: str) -> None:
    """Throw away what an earlier fetch has left unless it was of the very same."""
    path = _parts(to) / _STATE
    if not path.exists() or path.read_text() != state:
        shutil.rmtree(to, ignore_errors=True)
    shutil.rmtree(_parts(to), ignore_errors=True)
    path.parent.mkdir(parents=True)
    path.write_text(state)
    to.mkdir(parents=True, exist_ok=True)


class _Fetching:
    def __init__(
        self, repository: ArtifactRepository, to: Path, found: dict[str, _Artifact], progress: Progress | None
    ) -> None:
        self._repository, self._to, self._found = repository, to, found
        self._progress = progress or (lambda there, total: None)
        self._total = sum(one.size or 0 for one in found.values())
        self._there, self._lock = 0, Lock()
        self._parts = _parts(to) / secrets.token_hex(8)

    def run(self) -> None:
        todo = []
        for path, one in self._found.items():
            target = self._to / path
            if one.size is not None and target.exists() and target.stat().st_size == one.size:
                self._there += one.size
            else:
                todo.append(path)
        Crew().each(self._one, todo, self._tell)
        self._tell()

    def _one(self, path: str) -> None:
        one, folder = self._found[path], self._parts / secrets.token_hex(8)
        folder.mkdir(parents=True)
        got = Path(self._repository.download_artifacts(one.place, str(folder)))  # type: ignore[no-untyped-call]
        # It may be a link only where the server made it one; the scan would see one that is moved to its place.
        size = got.lstat().st_size
        if one.size is not None and size != one.size:
            raise Damaged(f"{shown(path)} arrived with {size} bytes of {one.size}: try again.")
        target = self._to / path
        target.parent.mkdir(parents=True, exist_ok=True)
        got.replace(target)
        with self._lock:
            self._there += size

    def _tell(self) -> None:
        """What is there, and what of the files that are just arriving."""
        with self._lock:
            there = self._there
        for folder, _, names in os.walk(self._parts):
            for name in names:
                try:
                    there += Path(folder, name).stat().st_size
                except FileNotFoundError:
                    continue  # it is whole now
        self._progress(there, max(self._total, there))


@contextmanager
def _mlflow_errors(address: Address) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        yield
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFound(f"MLflow has nothing at {address}.") from error
        raise _unavailable(error) from error
    except RequestException as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> Unavailable:
    reason = scrubbed(str(error).partition("\n")[0])[:_REASON]
    return Unavailable(f"MLflow cannot be read from: {shown(reason)}. MLFLOW_TRACKING_URI says where it is.")
