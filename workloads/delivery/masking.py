"""What of a record may be written down: each feature by its classification in `workload.yaml`.

| classified | a number is written as | a category is written as |
|---|---|---|
| `public`, `internal` | itself | itself |
| `personal` | the bin it falls in | itself, where the training saw many of it; else a keyed hash |
| `sensitive`, or not at all | not written | not written |

Bins and large categories come from the training rows (`reference`) and travel in the metadata of
the model that was made of them, so that what is written can be compared with what was trained on. A
personal number of a model without bins is not written. A value that is missing is written as null.

A keyed hash (HMAC-SHA-256, 128 bits) can be compared with others of the same key and feature, and
not be undone or tried out without the key. It still shows how often a value occurs.
"""

from __future__ import annotations

import hmac
from bisect import bisect_right
from typing import Any

from workloads.delivery.request import Record, Schema, Value
from workloads.delivery.spec import Column

OPEN = ("public", "internal")
BINS = 10
"""Of a personal number at most, with about as many training rows in each."""
_HEX = 32


class Masks:
    """What to write of the records of one model."""

    def __init__(self, schema: Schema) -> None:
        """Reads classifications and references; a classification that is not known is sensitive."""
        personal = [field for field in schema.fields if field.classification == "personal"]
        self._open = [field.name for field in schema.fields if field.classification in OPEN]
        self._numbers = [
            (field.name, field.edges)
            for field in personal
            if field.kind == "number" and field.edges is not None
        ]
        self._categories = [
            (field.name, frozenset(field.groups)) for field in personal if field.kind == "category"
        ]

    def of(self, record: Record, key: bytes) -> dict[str, dict[str, Value]]:
        """A checked record in three parts: `values` as they are, `bins` from 0, and `hashes`."""
        values = {name: record[name] for name in self._open}
        hashes: dict[str, Value] = {}
        for name, groups in self._categories:
            value = record[name]
            if value is None or value in groups:
                values[name] = value
            else:
                hashes[name] = keyed(key, f"{name}\0{value}")
        bins: dict[str, Value] = {}
        for name, edges in self._numbers:
            number = record[name]
            bins[name] = None if number is None else bisect_right(edges, float(number))
        return {"values": values, "bins": bins, "hashes": hashes}


def keyed(key: bytes, text: str) -> str:
    """The keyed hash of `text`, in hexadecimal."""
    # a category of JSON may hold lone surrogates
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256").hex()[:_HEX]


def reference(column: Column, rows: Any, minimum: int) -> dict[str, Any]:
    """How the training `rows` (a pandas Series) of a feature are distributed; nothing of a
    sensitive one.

    Of a number the `edges` between bins, each bin of at least `minimum` rows, the lower edge in the
    bin; of a category the `groups` of at least as many. `shares` are of the rows with a value.
    """
    if column.classification == "sensitive":
        return {}
    present = rows.dropna()
    if column.kind == "category":
        counts = present.astype(str).value_counts()
        large = {str(name): int(count) for name, count in counts.items() if count >= minimum}
        names = sorted(large)
        return {"groups": names, "shares": _shares([large[name] for name in names], len(present))}
    numbers = sorted(float(number) for number in present)
    edges = _edges(numbers, minimum)
    counted = [0] * (len(edges) + 1)
    for number in numbers:
        counted[bisect_right(edges, number)] += 1
    return {"edges": edges, "shares": _shares(counted, len(numbers))}


def _edges(numbers: list[float], minimum: int) -> list[float]:
    """Quantiles of sorted `numbers`, without those that would leave a bin with too few."""
    import numpy as np

    if len(numbers) < 2 * minimum:
        return []
    kept: list[float] = []
    below = 0
    for edge in np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1])):
        before = int(np.searchsorted(numbers, edge, side="left"))
        if before - below >= minimum and len(numbers) - before >= minimum:
            kept.append(float(edge))
            below = before
    return kept


def _shares(counts: list[int], rows: int) -> list[float]:
    return [round(count / rows, 4) for count in counts] if rows else []
