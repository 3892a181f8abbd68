"""Amounts as Kubernetes writes them. Source: Kubernetes API, type `Quantity`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(m|[KMGTPE]i|[kMGTPE]|))")
_UNITS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def amount(value: Any) -> Decimal | None:
    """What `value` amounts to; `None` where it is no quantity."""
    found = _FORM.fullmatch(str(value))
    if found is None:
        return None
    number, power, unit = found.groups()
    return Decimal(number) * (Decimal(f"1{power}") if power else _UNITS[unit or ""])
