"""The error of callers who have shown something that does not let them in."""

from __future__ import annotations

from modelyard.domain.errors import ModelyardError


class NotAccepted(ModelyardError):
    """What was shown is no valid token or key."""

    # The message says what is wrong with it and never quotes it.
    code = "unauthenticated"
    http_status = 401
    title = "Not authenticated"
