"""What an installation is told from outside: settings that no request can change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """A setting: the ``name`` of its variable, its ``value`` in words (empty where it is ``hidden``, or is nothing),
    whether it is ``given`` (other than usual), and what it is ``about``."""

    name: str
    value: str
    hidden: bool
    given: bool
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The control process that answers: its ``site``, what browsers call it by, and its settings."""

    site: str
    address: str
    settings: Sequence[Configured]
