"""``options.batching``: how requests that wait together may share a run of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelyard.domain.errors import Problem

OPTION: Final = "batching"
MAX_ROWS: Final = 4096
MAX_DELAY_MS: Final = 1000
_PATH: Final = f"options.{OPTION}"


def problems(value: object) -> Iterator[Problem]:
    """What is wrong with the option's value."""
    if value is False:
        return
    if not isinstance(value, Mapping):
        message = 'batching is false, or an object: {"max_rows": 64, "max_delay_ms": 0}.'
        yield Problem(_PATH, "invalid_type", message)
        return
    for name in sorted(set(value) - {"max_rows", "max_delay_ms"}):
        yield Problem(f"{_PATH}.{name}", "unknown_option", f"batching takes max_rows and max_delay_ms, not {name!r}.")
    rows: Any = value.get("max_rows", MAX_ROWS)
    if type(rows) is not int or not 2 <= rows <= MAX_ROWS:
        message = (
            f"max_rows is a whole number from 2 to {MAX_ROWS}; to have each request run alone, set batching to false."
        )
        yield Problem(f"{_PATH}.max_rows", "out_of_range", message)
    delay: Any = value.get("max_delay_ms", 0)
    if type(delay) not in (int, float) or not 0 <= delay <= MAX_DELAY_MS:
        message = f"max_delay_ms is a number of milliseconds from 0 to {MAX_DELAY_MS}."
        yield Problem(f"{_PATH}.max_delay_ms", "out_of_range", message)
