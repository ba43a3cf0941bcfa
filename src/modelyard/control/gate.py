"""What stands between the decision on a command and its being written."""

from __future__ import annotations

from typing import Protocol

from modelyard.control.caller import Caller
from modelyard.domain.commands import Change


class Gate(Protocol):
    """Has its say before commands are carried out."""

    async def hold(self, change: Change, caller: Caller) -> Change:
        """``change`` as it may be written, with an event and a warning of its operation for all that is let pass.

        Raises:
            InvalidRequest: a deploy or an update that a policy does not allow.
            Refused: any other command that one does not allow (``policy``).
            Forbidden: the caller may not override what it asks to override.
        """
