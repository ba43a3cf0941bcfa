"""Fixtures that several areas share, how random the tests are, and what the commands that they start inherit."""

import os
import signal

from hypothesis import settings

from tests.cli.conftest import yard  # noqa: F401

# The same draws on every run: who changes one thing is not to be stopped by a rare history that has always failed.
# Such a history is for the soak to find (`make soak`), which draws anew each time.
settings.register_profile("repeatable", derandomize=True)
if "MODELYARD_HISTORIES" not in os.environ:
    settings.load_profile("repeatable")

# A shell that runs the tests in the background has them ignore SIGINT, and with them every command that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
