"""A source's files in a folder, whatever its scheme. What is heavy is imported with the scheme that needs it."""

from __future__ import annotations

from pathlib import Path

from modelyard.registry.admitting import USERS, Hosts
from modelyard.registry.content.cutting import Progress
from modelyard.registry.room import watched
from modelyard.registry.sources.address import parse
from modelyard.registry.sources.picking import EVERYTHING, Picking


def fetch(
    source: str, to: Path, picking: Picking = EVERYTHING, *, progress: Progress | None = None, hosts: Hosts = USERS
) -> str:
    """Have just the files of ``source`` in the folder ``to``; what is unfinished is kept beside that, and gone on with
    by the next call. Images, other registries' versions and archives are fetched whole: who opens the folder picks
    once more (:func:`modelyard.registry.importing.opened`). Returns what was fetched, as far as that can be said for
    good: with a commit, a version or an ETag, and nothing secret; of files of this machine, nothing. ``progress`` is
    told of bytes there and bytes in all, by any thread; what it raises ends the fetch and is raised. ``hosts`` are
    those that may be reached.

    Raises:
        InvalidRequest: with all that is wrong with the source or the names of its files; ``source_refused``: it leads
            to where it may not
        NotFound: there is nothing
        Unavailable: it cannot be had, now or with these credentials
        Damaged: what arrived is not what it should be
        NoSpace: it does not go on the disk
        OSError: a file cannot be written
    """
    address = parse(source)
    to.parent.mkdir(parents=True, exist_ok=True)
    progress = watched(to.parent, progress)
    if address.scheme in ("http", "https"):
        from modelyard.registry.sources import web

        return web.fetch(address, to, progress, hosts)
    if address.scheme in ("s3", "gs", "az"):
        from modelyard.registry.sources import buckets

        return buckets.fetch(address, to, picking, progress)
    if address.scheme == "hf":
        from modelyard.registry.sources import hub

        return hub.fetch(address, to, picking, progress, hosts)
    if address.scheme == "mlflow":
        from modelyard.registry.sources import tracking

        return tracking.fetch(address, to, picking, progress, hosts)
    if address.scheme == "oci":
        from modelyard.registry.oci.importing import fetch as fetch_image

        return fetch_image(address.text, to, progress=progress, hosts=hosts)
    if address.scheme == "registry":
        from modelyard.registry.sources import registries

        return registries.fetch(address, to, progress, hosts)
    from modelyard.registry.sources import local

    return local.fetch(address, to, picking, progress)
