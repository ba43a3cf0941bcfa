"""Fixtures that several areas share, how random the tests are, and what the commands that they start inherit."""

import os
import signal

from hypothesis import settings

from tests.cli.conftest import yard  # noqa: F401

# The same draws on every run: who changes one thing is not to be stopped by a rare history that has always failed.
# Such a history is for the soak to find (`make soak`), which draws anew each time. How long one takes says more of the
# machine than of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None)
if "MODELYARD_HISTORIES" not in os.environ:
    settings.load_profile("repeatable")

# A shell that runs the tests in the background has them ignore SIGINT, and with them every command that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that a test is made from may hold the time: several processes that share the tests out must call them the
    same."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None
