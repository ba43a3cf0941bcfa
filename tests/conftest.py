"""Fixtures that several areas share."""

from tests.cli.conftest import yard  # noqa: F401
