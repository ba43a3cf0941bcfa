"""Signing a browser in and out: by a key, by a link that does it once, by the identity provider.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from time import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from modelyard.access.callers import bearer
from modelyard.access.errors import NotAccepted
from modelyard.access.provider import Passage, Provider, SignInFailed, check_nonce
from modelyard.access.sessions import CrossSite, is_own_page
from modelyard.access.tokens import claims_of
from modelyard.api import schemas
from modelyard.api.context import ADMIN, Known, Services, answer, caller_of, identify, recognise, services_of
from modelyard.api.credentials import base_url, own_origins, session_of, shown, told_by_browser
from modelyard.api.problems import Unauthorized
from modelyard.api.tenants import grants_out
from modelyard.control.sign_ins import SignIns
from modelyard.domain.access import Principal
from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound, Problem

# Seconds that somebody may take with the identity provider.
_PASSAGE: Final = 600.0
_PURPOSE: Final = "/sign-in"
_CALLBACK: Final = "/oidc/callback"
# A path here: nothing that a browser could take for another host's, nor what it would leave out.
_OWN_PATH: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]{0,2000}")
_NO_STORE: Final = {"Cache-Control": "no-store"}
_SENT_ON: Final[dict[int | str, dict[str, Any]]] = {
    302: {"description": "To the identity provider."},
    401: {"description": "The identity provider did not sign the person in."},
}
_BACK: Final[dict[int | str, dict[str, Any]]] = {303: {"description": "Signed in: back to the page."}}

session = APIRouter(prefix="/session", tags=["session"])


@session.get("", response_model=schemas.Session, summary="Who is signed in, and how can one sign in?")
async def show(request: Request) -> Response:
    """Answers everybody: also those who are not signed in."""
    services = services_of(request)
    try:
        caller = await identify(request)
    except (Unauthorized, NotAccepted):
        caller = None
    return answer(_session_out(services, caller, request if caller is not None else None), 200, _NO_STORE)


@session.post("", response_model=schemas.Session, summary="Sign in by a key or a link's code")
async def sign_in(body: schemas.SignIn, request: Request) -> Response:
    """The answer sets the session's cookie, which holds what was shown, sealed. It lasts 12 hours at most, and no
    longer than the key itself."""
    services = services_of(request)
    sign_ins = services.sign_ins
    _told(request, way=schemas.Way.KEY if body.key is not None else schemas.Way.LINK)
    _refuse_other_sites(request, sign_ins)
    try:
        key = body.key.strip() if body.key is not None else await sign_ins.take(body.code or "")
        return await _begun(request, services, key)
    except (Unauthorized, NotAccepted) as error:
        sign_ins.failed(_address(request))
        hint = " Show another one, or open the link that 'modelyard dashboard' prints." if body.key is not None else ""
        raise Unauthorized(f"{error.message}{hint}") from None


@session.delete("", status_code=204, summary="Sign out")
async def sign_out(request: Request) -> Response:
    """The key itself goes on to work; it is this browser that forgets it."""
    services = services_of(request)
    sessions = services.sign_ins.sessions
    try:
        caller = await identify(request)
    except (Unauthorized, NotAccepted):
        caller = None
    if caller is not None and session_of(request, sessions) is not None:
        request.state.principal = caller
    else:
        request.state.harmless = True
    return Response(status_code=204, headers={**_NO_STORE, "Set-Cookie": sessions.set_cookie("", 0)})


@session.post("/links", status_code=201, response_model=schemas.SignInLink, summary="A link that signs in, once")
async def make_link(services: Known, request: Request) -> Response:
    """For the caller's own credential, within ten minutes."""
    sign_ins = services.sign_ins
    credential = bearer(shown(request, sign_ins.sessions, sign_ins.public) or b"")
    code, ends = await sign_ins.link(caller_of(request).name, credential)
    # In the fragment: browsers send it to nobody, so no server or proxy on the way keeps it.
    url = f"{base_url(request, sign_ins.public)}/#/sign-in?code={code}"
    return answer(schemas.SignInLink(url=url, code=code, expires_at=ends), 201, _NO_STORE)


@session.get(
    "/oidc", status_code=302, response_class=Response, responses=_SENT_ON,
    summary="Sign in by the identity provider",
)  # fmt: skip
async def oidc(
    request: Request,
    return_to: Annotated[str, Query(max_length=2000, description="A path here to go back to.")] = "/",
) -> Response:
    """For a browser to go to. The identity provider sends it back to `/api/v1/session/oidc/callback`."""
    try:
        return await _sent_on(request, return_to)
    except ModelyardError as error:
        return _page(request, error)


@session.get(
    _CALLBACK, status_code=303, response_class=Response, responses=_BACK,
    summary="Where the identity provider sends browsers back to",
)  # fmt: skip
async def oidc_callback(
    request: Request,
    state: Annotated[str, Query(max_length=1000)] = "",
    code: Annotated[str | None, Query(max_length=4000)] = None,
    error: Annotated[str | None, Query(max_length=200)] = None,
    iss: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    sign_ins = services_of(request).sign_ins
    _told(request, way=schemas.Way.OIDC)
    said = {"state": state, "code": code, "error": error, "iss": iss}
    try:
        response = await _come_back(request, {name: text for name, text in said.items() if text is not None})
    except ModelyardError as failure:
        response = _page(request, await _limited(request, sign_ins, failure))
    # Whatever came of it: nothing can come of it again.
    response.headers.append("Set-Cookie", sign_ins.sessions.set_on_the_way("", 0))
    return response


# ------------------------------------------------------------------------------------------- by the identity provider


def _provider(sign_ins: SignIns) -> Provider:
    if sign_ins.provider is None:
        raise NotFound(
            "Nobody signs in by an identity provider here: that takes MODELYARD_OIDC_ISSUER and "
            "MODELYARD_OIDC_CLIENT_ID. Sign in by an API key or a link."
        )
    return sign_ins.provider


async def _sent_on(request: Request, return_to: str) -> Response:
    sign_ins = services_of(request).sign_ins
    provider, sessions = _provider(sign_ins), sign_ins.sessions
    if _OWN_PATH.fullmatch(return_to) is None:
        message = "return_to is a path of this installation, such as /#/models."
        raise InvalidRequest([Problem("query.return_to", "invalid_value", message)])
    passage = Passage.new()
    redirect_uri = f"{base_url(request, sign_ins.public)}{request.url.path}{_CALLBACK.removeprefix('/oidc')}"
    url = await provider.address(passage, redirect_uri)
    held = {**asdict(passage), "return_to": return_to, "redirect_uri": redirect_uri, "expires": time() + _PASSAGE}
    set_cookie = sessions.set_on_the_way(sessions.seal(_PURPOSE, held), _PASSAGE)
    return Response(status_code=302, headers={**_NO_STORE, "Location": url, "Set-Cookie": set_cookie})


async def _come_back(request: Request, said: Mapping[str, str]) -> Response:
    services = services_of(request)
    sign_ins = services.sign_ins
    provider, sessions = _provider(sign_ins), sign_ins.sessions
    held = sessions.open(_PURPOSE, sessions.on_its_way(request.headers.get("cookie", "")))
    if held is None:
        raise SignInFailed("This browser has begun no sign-in, or not within the last ten minutes. Begin anew.")
    passage = Passage(held["state"], held["nonce"], held["verifier"])
    token = await provider.token(passage, said, held["redirect_uri"])
    begun = await _begun(request, services, token, passage)
    headers = {**_NO_STORE, "Location": held["return_to"], "Set-Cookie": begun.headers["set-cookie"]}
    return Response(status_code=303, headers=headers)


def _page(request: Request, error: ModelyardError) -> Response:
    """The error for a person whose browser came here by itself; for programs it is the problem that it always is.
    Raises it."""
    if "text/html" not in request.headers.get("accept", ""):
        raise error
    request.scope["problem"] = error.code
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Not signed in</title>'
        f"<h1>Not signed in</h1><p>{escape(error.message)}</p>"
        f"<p>Request {escape(request.scope.get('request_id', ''))}</p>"
        '<p><a href="/#/sign-in">Back to sign-in</a></p></html>'
    )
    policy = "default-src 'none'; base-uri 'none'; form-action 'none'"
    headers = {**_NO_STORE, "Content-Security-Policy": policy}
    return Response(text, error.http_status, headers, "text/html")


async def _limited(request: Request, sign_ins: SignIns, failure: ModelyardError) -> ModelyardError:
    """``failure``, or that there were too many of them."""
    if failure.http_status != 401:
        return failure
    try:
        sign_ins.failed(_address(request))
    except ModelyardError as limited:
        return limited
    return failure


# ------------------------------------------------------------------------------------------- sessions


async def _begun(request: Request, services: Services, credential: str, passage: Passage | None = None) -> Response:
    """The answer that begins a session for ``credential``, of that ``passage`` if it came by one.

    Raises:
        Unauthorized: it is nobody's.
        SignInFailed: it belongs to another passage.
        TooLarge: no browser would keep it.
    """
    sessions = services.sign_ins.sessions
    authorization = b"Bearer " + credential.encode()
    caller = await recognise(services, authorization)
    if passage is not None:
        check_nonce(passage, credential)
    # From here on it is theirs on record.
    request.state.principal = caller
    value, ends = sessions.begin(credential, _end_of(services, caller, authorization))
    shape = _session_out(services, caller).model_copy(update={"expires_at": ends})
    return answer(shape, 200, {**_NO_STORE, "Set-Cookie": sessions.set_cookie(value, ends.timestamp() - time())})


def _end_of(services: Services, caller: Principal, authorization: bytes) -> float:
    """When a valid credential ends by itself, in seconds since 1970."""
    if caller is ADMIN:
        return math.inf
    found = services.callers.known(authorization)
    if found is not None and found.key is not None:
        return found.until
    return float(claims_of(bearer(authorization))["exp"])


def _session_out(services: Services, caller: Principal | None, request: Request | None = None) -> schemas.Session:
    sign_ins = services.sign_ins
    found = session_of(request, sign_ins.sessions) if request is not None else None
    provider = sign_ins.provider
    return schemas.Session(
        signed_in=caller is not None, name=caller.name if caller else "", kind=caller.kind if caller else None,
        oversees=caller is not None and caller.oversees, groups=sorted(caller.groups) if caller else [],
        grants=grants_out(caller) if caller else [], expires_at=found.expires_at if found else None,
        ways=[way for way in schemas.Way if provider is not None or way is not schemas.Way.OIDC],
        issuer=provider.host if provider is not None else "",
    )  # fmt: skip


def _refuse_other_sites(request: Request, sign_ins: SignIns) -> None:
    """A page elsewhere must not sign its visitors in as somebody else. Who is no browser says nothing of a page."""
    site, origin = told_by_browser(request)
    if (site, origin) != (None, None) and not is_own_page(site, origin, own_origins(request, sign_ins.public)):
        raise CrossSite


def _told(request: Request, **facts: str) -> None:
    """All that the record says of such a request: what it holds itself is secret."""
    request.state.told = facts


def _address(request: Request) -> str:
    return request.headers.get("x-forwarded-for", "")
