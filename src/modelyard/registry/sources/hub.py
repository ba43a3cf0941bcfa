"""``hf://``: models of the Hugging Face Hub, at the commit that their revision is when it is asked for.

Its own client says what there is and signs in (``HF_TOKEN``, ``HF_ENDPOINT``). It goes on with no download that was cut
off and checks no digest, so the bytes are fetched by :mod:`modelyard.registry.sources.web`, and each file is checked by
what the Hub says of it: the SHA-256 of a large one, the blob's name in git of any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelyard.domain.errors import NotFound, Unavailable
from modelyard.registry.admitting import USERS, Hosts
from modelyard.registry.content.cutting import Progress
from modelyard.registry.formats.names import shown
from modelyard.registry.sources.address import Address, scrubbed
from modelyard.registry.sources.files import Changed, File, bring
from modelyard.registry.sources.picking import Picking
from modelyard.registry.sources.web import Web, client

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

MISSING = "hf:// needs the Hub's client: pip install 'modelyard[hf]'"


def fetch(address: Address, to: Path, picking: Picking, progress: Progress | None = None, hosts: Hosts = USERS) -> str:
    """The repository's files below ``to``; what they were, with the commit.

    Raises:
        InvalidRequest: names that may not be in a version
        NotFound, Unavailable, Damaged: they cannot be had
    """
    try:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
    except ImportError:
        raise Unavailable(MISSING) from None

    with _hub_errors(address):
        info = HfApi(library_name="modelyard").model_info(
            address.place, revision=address.pick or None, files_metadata=True
        )
        headers = build_hf_headers(library_name="modelyard")
    # Some that serve what the Hub does know no commits.
    commit = info.sha or address.pick or constants.DEFAULT_REVISION
    wanted = {path: one for path, one in _below(address.path, info.siblings or ()) if picking.wants(path)}
    if not wanted:
        raise NotFound(f"There is nothing at {address}, or nothing of it is wanted.")
    # The Hub's own address is the administrator's to choose.
    endpoint = urlsplit(constants.ENDPOINT).hostname or ""
    hosts = replace(hosts, named=hosts.named | {endpoint})
    with client(hosts, signs_in=False) as http:
        web = Web(http, headers, hosts)
        try:
            bring([_file(web, address, commit, path, one) for path, one in wanted.items()], to, progress)
        except Changed:
            # A commit's files do not change.
            raise Unavailable(f"The Hub answers for {address} with other sizes than it says: try again.") from None
    return f"hf://{address.place}@{commit}" + (f"/{address.path}" if address.path else "")


def _below(path: str, siblings: Iterable[RepoSibling]) -> Iterator[tuple[str, RepoSibling]]:
    """The file of this name, or all in this folder, by the path that each is to have."""
    for one in siblings:
        if one.rfilename == path:
            yield path.rpartition("/")[2], one
        elif not path or one.rfilename.startswith(f"{path}/"):
            yield one.rfilename[len(path) :].removeprefix("/") if path else one.rfilename, one


def _file(web: Web, address: Address, commit: str, path: str, one: RepoSibling) -> File:
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(address.place, one.rfilename, revision=commit)
    digest = f"sha256:{one.lfs.sha256}" if one.lfs else f"git:{one.blob_id}" if one.blob_id else ""
    size = one.lfs.size if one.lfs else one.size
    if size is None or not digest:
        # Some that serve what the Hub does say nothing but names.
        return replace(web.file(url, "")[0], path=path)
    return File(
        path=path, size=size, tag=digest, digest=digest, read=lambda start, end: web.read(url, start, end, size)
    )


@contextmanager
def _hub_errors(address: Address) -> Iterator[None]:
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        message = f"The Hub lets {address.place} be read only by those who were let in: ask there, and set HF_TOKEN."
        raise Unavailable(message) from error
    except RevisionNotFoundError as error:
        raise NotFound(f"{address.place} has no revision {shown(address.pick)!r}.") from error
    except RepositoryNotFoundError as error:
        message = f"The Hub has no model {address.place}, or lets only others read it: then set HF_TOKEN."
        raise NotFound(message) from error
    except HFValidationError as error:
        raise NotFound(f"The Hub can have no model {shown(address.place)}.") from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        reason = scrubbed(str(error).partition("\n")[0]) or type(error).__name__
        raise Unavailable(f"The Hub cannot be read from: {shown(reason)}.") from error
