"""Names that an organisation lists, where ``*`` stands for anything."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any


def is_among(name: Any, patterns: Iterable[str]) -> bool:
    """Whether `name` is a text that one of `patterns` stands for."""
    return isinstance(name, str) and any(fnmatch.fnmatchcase(name, one) for one in patterns)
