"""For those who receive webhooks: is this from Modelyard, and just now? Needs the standard library only.

::

    @app.post("/alerts")
    async def alerts(request):
        body = await request.body()
        told = webhooks.verify(SECRET, request.headers["X-Modelyard-Signature"], body)
        ...  # told["delivery"] is the same if this is sent again

Answer with 2xx once it is safe with you; anything else is sent again, for a day.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

# Seconds by which the clocks may differ, the time on the way included.
TOLERANCE = 300.0


class NotGenuine(ValueError):
    """It was not signed by this secret, or too long ago."""


def verify(secret: str, signature: str, body: bytes, *, tolerance: float = TOLERANCE, now: float | None = None) -> Any:
    """The decoded body of a genuine request. ``signature`` is the header X-Modelyard-Signature, ``body`` all bytes of
    the request as they came; ``now`` in seconds since 1970 (None: by this machine's clock).

    Raises:
        NotGenuine: it was not signed by this secret, or its time is more than ``tolerance`` seconds away.
    """
    fields = [part.strip().partition("=") for part in signature.split(",")]
    times = [value for name, _, value in fields if name == "t"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12:
        raise NotGenuine("The signature does not say when it was made.")
    expected = hmac.new(secret.encode(), times[0].encode() + b"." + body, hashlib.sha256).hexdigest().encode()
    given = [value.encode() for name, _, value in fields if name == "v1"]
    if not any(hmac.compare_digest(expected, each) for each in given):
        raise NotGenuine("The body was not signed by this secret.")
    if abs((time.time() if now is None else now) - int(times[0])) > tolerance:
        raise NotGenuine(f"It was signed more than {tolerance:g} seconds ago, or the clocks differ.")
    return json.loads(body)
