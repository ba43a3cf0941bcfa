"""What a request shows of who sends it: an ``Authorization`` header or a browser's session; and where it was sent."""

from __future__ import annotations

from fastapi import Request

from modelyard.access.sessions import Session, Sessions, demand_own_page, origins
from modelyard.api.problems import Unauthorized


def shown(request: Request, sessions: Sessions, public: str) -> bytes | None:
    """The ``Authorization`` header's value, or what a session stands for in its place; None: there is neither.

    Raises:
        Unauthorized: there are several headers, or a session that is over or none.
        CrossSite: a page of another origin sends it with a session, and it may change something.
    """
    headers = request.headers.getlist("authorization")
    if headers:
        if len(headers) > 1:
            raise Unauthorized("The request has more than one Authorization. Send one.")
        return headers[0].encode("latin-1")
    cookies = request.headers.get("cookie", "")
    session = sessions.find(cookies)
    if session is None:
        if sessions.has(cookies):
            raise Unauthorized("This session is over, or was begun at another installation. Sign in again.")
        return None
    demand_own_page(request.method, *told_by_browser(request), own_origins(request, public))
    return session.authorization


def session_of(request: Request, sessions: Sessions) -> Session | None:
    """The session that says who asks; None: something else does, or nothing."""
    return None if "authorization" in request.headers else sessions.find(request.headers.get("cookie", ""))


def told_by_browser(request: Request) -> tuple[str | None, str | None]:
    """``Sec-Fetch-Site`` and ``Origin``, which no page can make up."""
    return request.headers.get("sec-fetch-site"), request.headers.get("origin")


def own_origins(request: Request, public: str) -> tuple[str, ...]:
    """What this installation is known by."""
    headers = request.headers
    # The gateway's word of how it was asked: nobody else reaches this process.
    scheme = headers.get("x-forwarded-proto", request.url.scheme)
    return origins(scheme, headers.get("x-forwarded-host") or headers.get("host", ""), public)


def base_url(request: Request, public: str) -> str:
    """What browsers call this installation by."""
    return public or own_origins(request, public)[0]
