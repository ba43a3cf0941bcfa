"""Which days are public holidays: the ``holidays`` library, as schedules ask for them.

The library is imported at the first question (16 MiB with its list of countries); who never asks pays nothing.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Mapping
from datetime import date
from difflib import get_close_matches
from functools import lru_cache

from modelyard.domain.errors import Problem
from modelyard.domain.schedules import HolidayCalendar

logger = logging.getLogger(__name__)

# Years of countries and their parts that are kept: some hundred calendars for as long as schedules look ahead.
_KEPT = 1024
# All countries have their names in it; else they would be in the language of whoever started the process.
_LANGUAGE = "en_US"


def calendar_problems(calendar: HolidayCalendar) -> list[Problem]:
    """Whether its country and subdivision are known. Paths as in the body of a schedule."""
    known = _subdivisions()
    country, subdivision = calendar.country, calendar.subdivision
    if country not in known:
        message = f"No public holidays are known of {country[:16]!r}: write one of {', '.join(sorted(known))}."
        return [Problem("holidays.country", "unknown_country", message)]
    if subdivision and subdivision not in known[country]:
        parts = sorted(known[country])
        close = get_close_matches(subdivision[:32], parts, n=1)
        if not parts:
            hint = "its holidays are the same everywhere, leave subdivision out."
        elif close:
            hint = f"did you mean {close[0]}?"
        else:
            hint = f"write one of {', '.join(parts)}."
        message = f"{country} has no subdivision {subdivision[:32]!r} with holidays of its own: {hint}"
        return [Problem("holidays.subdivision", "unknown_subdivision", message)]
    return []


def names_of(calendar: HolidayCalendar | None) -> Callable[[date], str]:
    """The names of a calendar's holidays in English, empty for other days. None has none.

    Years that the library knows nothing of have none either, nor have calendars that it does not know: one that was
    known when its schedule was saved must not end the scheduler after an update."""
    if calendar is None:
        return lambda day: ""
    country, subdivision = calendar.country, calendar.subdivision
    return lambda day: _year(country, subdivision, day.year).get(day, "")


def know(calendars: Collection[HolidayCalendar | None], today: date) -> None:
    """Ask beside the event loop: of each country's holidays the first question takes long."""
    for calendar in calendars:
        names_of(calendar)(today)


@lru_cache(_KEPT)
def _year(country: str, subdivision: str, year: int) -> Mapping[date, str]:
    import holidays

    try:
        with warnings.catch_warnings():
            # That a country's moving feasts are foretold only for some years is no news to a log.
            warnings.simplefilter("ignore")
            found = holidays.country_holidays(country, subdiv=subdivision or None, years=year, language=_LANGUAGE)
    except NotImplementedError as unknown:
        logger.warning("schedules go on without these holidays: %s", unknown)
        return {}
    # As a plain dict: the library's own computes further years when it is asked for them.
    return {day: name for day, name in found.items() if day.year == year}


@lru_cache(1)
def _subdivisions() -> Mapping[str, frozenset[str]]:
    import holidays

    return {
        country: frozenset(parts) for country, parts in holidays.list_supported_countries(include_aliases=False).items()
    }
