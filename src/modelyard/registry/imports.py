"""An import: what is at a source becomes a version. The steps of one attempt, each of which finds what an earlier one
has left."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from modelyard.domain.errors import AlreadyExists, InvalidRequest, ModelyardError, NotFound, Refused, Unavailable
from modelyard.domain.registry import About, Signature, Trusted, Version
from modelyard.domain.registry_rules import MAX_SOURCE, identity_problems
from modelyard.domain.transfers import Order, Phase, Transfer
from modelyard.domain.versions import parse_version
from modelyard.registry.admitting import local_path
from modelyard.registry.carrying import Haul
from modelyard.registry.catalog import By, Catalog
from modelyard.registry.content.cutting import Progress
from modelyard.registry.content.storage import Folder, Storage
from modelyard.registry.contents import Contents, Held
from modelyard.registry.formats.interface import told_by
from modelyard.registry.formats.kinds import Kind
from modelyard.registry.importing import Source, Trust, is_archive, only, scanned, unpacked
from modelyard.registry.room import watched
from modelyard.registry.sources.picking import Picking
from modelyard.registry.trust import trusted

# So many lower versions a new one is compared with.
_LOWER: Final = 2
_NUMBERS: Final = 20


class Fetch(Protocol):
    """See :func:`modelyard.registry.sources.fetching.fetch`."""

    def __call__(self, source: str, to: Path, *, picking: Picking, progress: Progress | None) -> str: ...


class Imports:
    """``admit`` is asked once more before anything is fetched: what is allowed may have changed since (InvalidRequest
    then)."""

    def __init__(
        self, catalog: Catalog, contents: Contents, storage: Storage, fetch: Fetch, admit: Callable[[str], str]
    ) -> None:
        self._catalog, self._contents, self._storage = catalog, contents, storage
        self._fetch, self._admit = fetch, admit

    async def carry(self, haul: Haul) -> int:
        """All of it, but to write that it is done; the version's bytes."""
        manifest, order = haul.transfer.manifest, haul.transfer.order
        if not manifest:
            manifest, order = await self._stored(haul)
        return await self._publish(haul, manifest, order)

    async def _stored(self, haul: Haul) -> tuple[str, Order]:
        """The manifest of the bytes, which are in the store then, and the order with what they say of themselves."""
        source, order = haul.transfer.source, haul.transfer.order
        picking = Picking(include=order.include, exclude=order.exclude)

        def fetch(progress: Progress) -> tuple[Path, str]:
            haul.folder.mkdir(parents=True, exist_ok=True)
            # What is on this machine is read where it is.
            if (there := local_path(self._admit(source))) is not None:
                return there, ""
            origin = self._fetch(source, haul.folder / "fetched", picking=picking, progress=progress)
            return only(haul.folder / "fetched"), origin

        path, origin = await haul.run(Phase.FETCHING, fetch)
        trust = Trust(code=Trusted.CODE in order.identity.trust, pickle=Trusted.PICKLE in order.identity.trust)
        order = _from(order, origin)

        def scan(progress: Progress) -> tuple[Source, Order]:
            files = _files(path, haul.folder / "unpacked", trust, picking, progress)
            return files, _told(order, files)

        files, told = await haul.run(Phase.SCANNING, scan, order=order)
        like = await self._alike(haul.transfer)

        def push(progress: Progress) -> str:
            if isinstance(self._storage, Folder):
                progress = watched(self._storage.root, progress)
            # Each byte is read twice, to be hashed and to be stored.
            return files.push(
                self._storage, like=like, progress=lambda done, total: progress(done // 2, total // 2)
            ).manifest

        return await haul.run(Phase.PUSHING, push), told

    async def _publish(self, haul: Haul, manifest: str, order: Order) -> int:
        transfer = haul.transfer
        namespace, name = transfer.namespace, transfer.model
        by = By(actor=transfer.actor, reason=transfer.reason)
        # An earlier attempt may have come to its end but for the answer.
        is_tried = bool(transfer.manifest)
        for _ in range(_NUMBERS):
            number = haul.transfer.version or await self._next(transfer)
            try:
                # Put down before it is published: whoever takes this up after a crash publishes no other one.
                await haul.enter(Phase.PUBLISHING, version=number, manifest=manifest, order=order)
            except AlreadyExists as error:
                raise Unavailable(error.message) from error
            try:
                held = await self._held(haul, manifest)
                identity = replace(
                    order.identity, content=held.content, trust=trusted(held.kinds, order.identity.trust)
                )  # fmt: skip
                await self._ensure_registered(namespace, name, by)
                is_tried = True
                await self._catalog.publish(namespace, name, number, identity, order.notes, by)
            except Refused as error:
                if order.bump is None or error.code != "version_exists":
                    raise
                # Somebody else was faster.
                await haul.write(replace(haul.transfer, version=None))
                is_tried = False
                continue
            except Unavailable as error:
                if is_tried and haul.transfer.manifest:
                    raise Unavailable(f"{name}@{number} may be published already. {error.message}") from error
                raise
            for alias in order.aliases:
                with _after(f"{name}@{number} is published, but {alias} does not point there."):
                    await self._catalog.move_alias(namespace, name, alias, number, by)
            return held.content.size
        raise Unavailable(f"Versions of {name} are published too fast for this one to get a number.")

    async def _held(self, haul: Haul, manifest: str) -> Held:
        try:
            return await self._contents.content(manifest)
        except InvalidRequest as error:
            # Collected as garbage between two attempts: they are stored anew.
            await haul.write(replace(haul.transfer, manifest=""))
            raise Unavailable(f"The store no longer has all bytes of {manifest}.") from error

    async def _ensure_registered(self, namespace: str, name: str, by: By) -> None:
        try:
            await self._catalog.get(namespace, name)
        except NotFound:
            with suppress(AlreadyExists):
                await self._catalog.register(namespace, name, About(), by)

    async def _next(self, transfer: Transfer) -> str:
        """The number after the latest one."""
        assert transfer.order.bump is not None
        latest = None
        with suppress(NotFound):
            latest = (await self._catalog.get(transfer.namespace, transfer.model)).latest
        return str(parse_version(latest or "0.0.0").bumped(transfer.order.bump))

    async def _alike(self, transfer: Transfer) -> Sequence[str]:
        """The manifests of the versions with which a new one may have most in common."""
        namespace, name, number = transfer.namespace, transfer.model, transfer.version
        found: list[Version] = []
        with suppress(NotFound):
            for within, count in ((f"<{number}" if number else "", _LOWER), ("", 1)):
                found += (await self._catalog.versions(namespace, name, within=within, page_size=count)).items
            of, _, parent = transfer.order.identity.lineage.parent.rpartition("@")
            if parent and of in ("", name):
                found.append(await self._catalog.version(namespace, name, parent))
        return list(dict.fromkeys(version.identity.content.manifest for version in found))


@contextmanager
def _after(words: str) -> Iterator[None]:
    """Errors say first what is done already."""
    try:
        yield
    except ModelyardError as error:
        error.args = (f"{words} {error.message}",)
        raise


def _from(order: Order, origin: str) -> Order:
    """The same with where the files were fetched from, and which ones they were there, in the version's lineage."""
    identity = order.identity
    lineage = replace(identity.lineage, source=origin[:MAX_SOURCE] or identity.lineage.source)
    return replace(order, identity=replace(identity, lineage=lineage))


def _told(order: Order, files: Source) -> Order:
    """The same with what an ONNX model says of itself, where there is one and nobody has said it before; without what
    by the rules cannot be said of a version, for nobody has asked for that."""
    models = [file.path for file in files.found if file.kind is Kind.ONNX]
    if len(models) != 1:
        return order
    framework, signature = told_by(files.root / models[0])
    identity = order.identity
    if identity.framework is None:
        identity = replace(identity, framework=framework)
    if identity.signature == Signature():
        identity = replace(identity, signature=signature)
    found = [problem.path for problem in identity_problems(identity)]
    return order if any(path.startswith("signature") for path in found) else replace(order, identity=identity)


def _files(path: Path, to: Path, trust: Trust, picking: Picking, progress: Progress) -> Source:
    """What the version is made of; an archive is unpacked into the folder ``to``, which is to be removed later."""
    if is_archive(path):
        # A killed attempt may have left some.
        shutil.rmtree(to, ignore_errors=True)
        path = unpacked(path, to, progress)
    return scanned(path, trust, picking=picking)
