"""Instances as processes of this machine."""

from modelyard.backends.local.backend import LocalBackend

__all__ = ["LocalBackend"]
