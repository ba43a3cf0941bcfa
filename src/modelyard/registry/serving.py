"""Registered models as the source of served ones: what a reference stands for, and its files where they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from modelyard.control.ports import Resolved
from modelyard.domain.errors import InvalidRequest, NotFound, Problem
from modelyard.domain.names import Registered
from modelyard.domain.signing import launch_refusal
from modelyard.domain.spec import PICKLE_SUFFIXES, Artifact, Engine, Spec
from modelyard.registry.caching import Traffic
from modelyard.registry.catalog import Catalog
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.manifest import Damaged, File, Manifest
from modelyard.registry.content.storage import Missing, Storage
from modelyard.registry.content.stored import read_manifest
from modelyard.registry.formats.scan import Kind
from modelyard.registry.signing.signatures import Signatures

_CODE = "model.py"
# The kinds of file that these engines load one of, with which suffixes (others pickle too, under their own), and what
# such a file is called where there are several.
_LOADS: Final[Mapping[Engine, tuple[Mapping[str, Sequence[str]], str]]] = {
    Engine.ONNX: ({Kind.ONNX: (".onnx",)}, "model.onnx"),
    Engine.SKLEARN: (
        {Kind.SKOPS: (".skops",), Kind.PROGRAM: (".skops",), Kind.PICKLE: PICKLE_SUFFIXES},
        "model.skops",
    ),
}


class Serving:
    """Implements ``control.ports.Sources`` and ``backends.port.Artifacts``."""

    def __init__(
        self, catalog: Catalog, storage: Storage, cache: Cache, traffic: Traffic, signatures: Signatures
    ) -> None:
        self._catalog, self._storage, self._cache, self._traffic = catalog, storage, cache, traffic
        self._signatures = signatures

    async def resolve(self, namespace: str, source: Registered, engine: Engine | None) -> Resolved:
        """See :class:`modelyard.control.ports.Sources`."""
        name, _, pick = str(source).partition("@")
        try:
            version = await self._catalog.resolve(namespace, name, pick, path="spec.source")
            digest = version.identity.content.manifest
            manifest = await asyncio.to_thread(read_manifest, self._storage, digest)
        except Missing as error:
            message = (
                f"The files of {source} are not in this home's store. Push the version again, or, where several homes "
                "share a database, have them share the store too (MODELYARD_REGISTRY_PATH)."
            )
            raise InvalidRequest([Problem("spec.source", "missing_content", message)]) from error
        except (NotFound, Damaged) as error:
            raise InvalidRequest([Problem("spec.source", error.code, error.message)]) from error
        runs, entry = entry_of(manifest, engine, str(source))
        return Resolved(engine=runs, artifact=Artifact(version=version.version, manifest=digest, entry=entry))

    async def version(self, namespace: str, source: Registered) -> str | None:
        """See :class:`modelyard.control.ports.Sources`."""
        return await self._catalog.number(namespace, source)

    async def problems(self, namespace: str, spec: Spec, *, required: bool = False) -> Sequence[Problem]:
        """See :class:`modelyard.control.ports.Sources`."""
        return await self._signatures.problems(namespace, spec, required=required)

    async def admit(self, namespace: str, spec: Spec) -> None:
        """See :class:`modelyard.backends.port.Artifacts`."""
        if problems := await self.problems(namespace, spec):
            raise launch_refusal(problems)

    def lay_out(self, artifact: Artifact, engine: Engine, progress: Callable[[int, int], None]) -> Path:
        """See :class:`modelyard.backends.port.Artifacts`."""
        return self._lay_out(artifact.manifest, _layout_of(engine), progress, ahead=False) / artifact.entry

    def lay_out_ahead(self, manifest: str, progress: Callable[[int, int], None]) -> Path:
        """Have a version's folder for the engine that its files tell, before anybody needs it; where they tell none,
        as they were pushed. Raises as :meth:`lay_out`."""
        try:
            engine, _ = entry_of(read_manifest(self._storage, manifest), None, manifest)
            layout = _layout_of(engine)
        except InvalidRequest:
            layout = Layout.EXACT
        return self._lay_out(manifest, layout, progress, ahead=True)

    def _lay_out(self, manifest: str, layout: Layout, progress: Callable[[int, int], None], *, ahead: bool) -> Path:
        there = self._cache.folder(manifest, layout).is_dir()
        laid_out = self._cache.lay_out(manifest, layout, progress)
        self._traffic.count(
            laid_out.path, there=there, fetched=laid_out.fetched, from_peers=laid_out.from_peers, ahead=ahead
        )
        return laid_out.path


def _layout_of(engine: Engine) -> Layout:
    # ONNX Runtime maps weights that are files of their own, and versions then share them.
    return Layout.TENSORS if engine is Engine.ONNX else Layout.EXACT


def entry_of(manifest: Manifest, engine: Engine | None, source: str) -> tuple[Engine, str]:
    """The engine, and the path of what it loads (empty: the folder).

    Raises:
        InvalidRequest: the files do not tell the engine, or what the engine loads is not there or not clear
    """
    engine = engine or _engine_of(manifest, source)
    if engine is Engine.PYTHON and not any(file.path == _CODE for file in manifest.files):
        message = f"The python engine needs a {_CODE}, and {source} has none."
        raise InvalidRequest([Problem("spec.source", "not_found", message)])
    if engine not in _LOADS:
        return engine, ""
    kinds, usual = _LOADS[engine]
    found = [file.path for file in manifest.files if _is_one(file, kinds)]
    if usual in found:
        return engine, usual
    if len(found) != 1:
        all_files = _listed([file.path for file in manifest.files])
        there = f"has several: {_listed(found)}" if found else f"has none, only {all_files}"
        message = (
            f"The {engine} engine loads one {PurePosixPath(usual).suffix} file, and {source} {there}. Push one of them "
            f"as {usual}, or in a version of its own."
        )
        raise InvalidRequest([Problem("spec.source", "no_entry", message)])
    return engine, found[0]


def _engine_of(manifest: Manifest, source: str) -> Engine:
    if any(file.path == _CODE for file in manifest.files):
        return Engine.PYTHON
    fitting = [e for e, (kinds, _) in _LOADS.items() if any(_is_one(file, kinds) for file in manifest.files)]
    if len(fitting) == 1:
        return fitting[0]
    message = f"Say which engine runs {source}: its files do not tell ({_listed([f.path for f in manifest.files])})."
    raise InvalidRequest([Problem("spec.engine", "required", message)])


def _is_one(file: File, kinds: Mapping[str, Sequence[str]]) -> bool:
    return PurePosixPath(file.path).suffix.lower() in kinds.get(file.kind, ())


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
