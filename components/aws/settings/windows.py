"""When AWS may back up and maintain a store of data: hours of a day or a week, in UTC."""

from __future__ import annotations

import itertools
import re

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
_SHORTEST_WINDOW_MINUTES = 30
_CLOCK = r"([01]\d|2[0-3]):([0-5]\d)"
_DAILY = re.compile(rf"{_CLOCK}-{_CLOCK}")
_WEEKLY = re.compile(rf"({'|'.join(_DAYS)}):{_CLOCK}-({'|'.join(_DAYS)}):{_CLOCK}")

Window = tuple[int, int]
"""Minutes of the week, since Monday midnight: beginning and length."""


def weekly_window(text: str) -> Window:
    """Parses a window such as ``Sat:21:00-Sat:22:00``. Raises `ValueError`."""
    found = _WEEKLY.fullmatch(text)
    if found is None:
        raise ValueError(f"is {text!r}, and must be like 'Sat:21:00-Sat:22:00'")
    day, hour, minute, last_day, last_hour, last_minute = found.groups()
    start = _DAYS.index(day) * _DAY_MINUTES + int(hour) * 60 + int(minute)
    end = _DAYS.index(last_day) * _DAY_MINUTES + int(last_hour) * 60 + int(last_minute)
    return _long_enough(text, start, (end - start) % _WEEK_MINUTES)


def daily_window(text: str) -> list[Window]:
    """Parses a window such as ``19:00-20:00``, one a day. Raises `ValueError`."""
    found = _DAILY.fullmatch(text)
    if found is None:
        raise ValueError(f"is {text!r}, and must be like '19:00-20:00'")
    hour, minute, last_hour, last_minute = map(int, found.groups())
    start = hour * 60 + minute
    length = (last_hour * 60 + last_minute - start) % _DAY_MINUTES
    return [_long_enough(text, day * _DAY_MINUTES + start, length) for day in range(len(_DAYS))]


def _long_enough(text: str, start: int, length: int) -> Window:
    if length < _SHORTEST_WINDOW_MINUTES:
        raise ValueError(f"is {text!r}, and must be {_SHORTEST_WINDOW_MINUTES} minutes or longer")
    return start, length


def windows_overlap(one: Window, other: Window) -> bool:
    """Whether two windows of the week share a minute."""
    return (other[0] - one[0]) % _WEEK_MINUTES < one[1] or (
        one[0] - other[0]
    ) % _WEEK_MINUTES < other[1]


def window_problems(**windows: str) -> list[str]:
    """What is wrong with the windows given by the names of their settings; AWS refuses overlaps.

    A window that names a day is weekly, any other daily. Times are UTC.
    """
    problems = []
    parsed: dict[str, list[Window]] = {}
    for name, text in windows.items():
        try:
            weekly = text[:1].isalpha()
            parsed[name] = [weekly_window(text)] if weekly else daily_window(text)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    return problems + [
        f"{name}: {windows[name]} overlaps {other} ({windows[other]})"
        for name, other in itertools.combinations(parsed, 2)
        if any(windows_overlap(a, b) for a in parsed[name] for b in parsed[other])
    ]
