"""Yes, no, and not known yet."""

from __future__ import annotations

from collections.abc import Iterable

Answer = bool | None
"""`None` where it is not known yet."""


def any_of(answers: Iterable[Answer]) -> Answer:
    """Yes where one is, no where all are."""
    given = list(answers)
    if True in given:
        return True
    return None if None in given else False


def all_of(answers: Iterable[Answer]) -> Answer:
    """No where one is, yes where all are."""
    given = list(answers)
    if False in given:
        return False
    return None if None in given else True
