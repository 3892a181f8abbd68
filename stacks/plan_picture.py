"""A layered picture of what needs what: rows from top to bottom, each on what it stands on.

Owns the layout; `stacks.plan_page` draws it. The steps are those of Sugiyama, Tagawa and Toda
(1981): rows by longest path, bends where an edge passes a row, order by barycentre, places by least
squares.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 212, 76
"""Of a box, in pixels."""
GAP, BEND_WIDTH, ROW_HEIGHT = 28, 18, 150
MOST_IN_A_ROW = 5
_SWEEPS = 12


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Where everything is, in pixels from the upper left."""

    width: float
    height: float
    boxes: dict[str, tuple[float, float]]
    """Upper left corner of each box."""
    lines: dict[tuple[str, str], str]
    """(who needs, what is needed) → path of the line, as SVG has it."""


def picture(needs: Mapping[str, Sequence[str]]) -> Picture:
    """The picture of `needs`: name → the names that it needs, each a key too."""
    edges = _reduced(_without_circles(needs))
    rows = _rows(needs, edges)
    if not rows:
        return Picture(width=0, height=0, boxes={}, lines={})
    paths = _with_bends(rows, edges)
    near = _neighbours(paths)
    _ordered(rows, near)
    middles = _placed(rows, near)
    left = min(middles[one] - _width(one) / 2 for row in rows for one in row)
    right = max(middles[one] + _width(one) / 2 for row in rows for one in row)
    at = {
        one: (middles[one] - left, number * ROW_HEIGHT)
        for number, row in enumerate(rows)
        for one in row
    }
    return Picture(
        width=right - left,
        height=(len(rows) - 1) * ROW_HEIGHT + HEIGHT,
        boxes={one: (at[one][0] - WIDTH / 2, at[one][1]) for one in needs},
        lines={edge: _line([at[one] for one in path]) for edge, path in paths.items()},
    )


Bend = tuple[str, str, int]
Item = str | Bend


def _width(item: Item) -> float:
    return WIDTH if isinstance(item, str) else BEND_WIDTH


def _without_circles(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The edges that are left when those are taken out that close a circle."""
    kept: dict[str, list[str]] = {one: [] for one in needs}
    state: dict[str, str] = {}

    def visit(one: str) -> None:
        state[one] = "open"
        for other in sorted(needs[one]):
            if state.get(other) == "open":
                continue
            kept[one].append(other)
            if other not in state:
                visit(other)
        state[one] = "done"

    for one in sorted(needs):
        if one not in state:
            visit(one)
    return kept


def _reduced(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Without the edges that others say already: a needs b needs c leaves out a needs c."""
    reach: dict[str, set[str]] = {}

    def reached(one: str) -> set[str]:
        if one not in reach:
            reach[one] = {far for other in needs[one] for far in (other, *reached(other))}
        return reach[one]

    return {
        one: [
            other
            for other in found
            if not any(other in reached(third) for third in found if third != other)
        ]
        for one, found in needs.items()
    }


def _rows(
    needs: Mapping[str, Sequence[str]], edges: Mapping[str, Sequence[str]]
) -> list[list[Item]]:
    """From top to bottom; what needs nothing is at the bottom."""
    height: dict[str, int] = {}

    def rise(one: str) -> int:
        if one not in height:
            height[one] = 1 + max((rise(other) for other in edges[one]), default=-1)
        return height[one]

    levels: dict[int, list[str]] = {}
    for one in sorted(needs):
        levels.setdefault(rise(one), []).append(one)
    rows: list[list[Item]] = []
    for level in sorted(levels, reverse=True):
        found = levels[level]
        count = -(-len(found) // MOST_IN_A_ROW)
        # as even as they go
        rows += [list(found[number::count]) for number in range(count)]
    return rows


def _with_bends(
    rows: list[list[Item]], edges: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], list[Item]]:
    """Each edge as a path through one item of every row; puts the bends into `rows`."""
    number = {one: place for place, row in enumerate(rows) for one in row}
    paths: dict[tuple[str, str], list[Item]] = {}
    for upper, found in edges.items():
        for lower in found:
            bends: list[Item] = [
                (upper, lower, between) for between in range(number[upper] + 1, number[lower])
            ]
            for place, bend in enumerate(bends, number[upper] + 1):
                rows[place].append(bend)
            paths[upper, lower] = [upper, *bends, lower]
    return paths


def _neighbours(paths: Mapping[tuple[str, str], Sequence[Item]]) -> dict[Item, list[Item]]:
    near: dict[Item, list[Item]] = {}
    for path in paths.values():
        for upper, lower in itertools.pairwise(path):
            near.setdefault(upper, []).append(lower)
            near.setdefault(lower, []).append(upper)
    return near


def _ordered(rows: list[list[Item]], near: Mapping[Item, Sequence[Item]]) -> None:
    """Puts each row into the order of the middle of its neighbours, down and up again."""
    row_of = {one: number for number, row in enumerate(rows) for one in row}
    place = {one: at / max(len(row) - 1, 1) for row in rows for at, one in enumerate(row)}

    def middle(one: Item, beside: int) -> float:
        found = [place[other] for other in near.get(one, ()) if row_of[other] == beside]
        return sum(found) / len(found) if found else place[one]

    for sweep in range(_SWEEPS):
        numbers = range(len(rows))
        step = -1 if sweep % 2 == 0 else 1
        for number in numbers if step < 0 else reversed(numbers):
            row = rows[number]
            row.sort(key=functools.partial(middle, beside=number + step))
            place |= {one: at / max(len(row) - 1, 1) for at, one in enumerate(row)}


def _placed(
    rows: Sequence[Sequence[Item]], near: Mapping[Item, Sequence[Item]]
) -> dict[Item, float]:
    """The middle of each item: near its neighbours, in order, and none over another."""
    at: dict[Item, float] = {}
    for row in rows:
        total = sum(_width(one) + GAP for one in row) - GAP
        x = -total / 2
        for one in row:
            at[one] = x + _width(one) / 2
            x += _width(one) + GAP
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            wanted = [
                sum(at[other] for other in near[one]) / len(near[one]) if near.get(one) else at[one]
                for one in row
            ]
            at |= zip(row, _apart(row, wanted), strict=True)
    return at


def _apart(row: Sequence[Item], wanted: Sequence[float]) -> list[float]:
    """The places closest to `wanted` that keep the items of `row` apart (pooled violators)."""
    offsets, total = [], 0.0
    for place, one in enumerate(row):
        if place:
            total += (_width(row[place - 1]) + _width(one)) / 2 + GAP
        offsets.append(total)
    pools: list[tuple[float, int]] = []
    for goal, offset in zip(wanted, offsets, strict=True):
        sum_, count = goal - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > sum_ / count:
            before = pools.pop()
            sum_, count = sum_ + before[0], count + before[1]
        pools.append((sum_, count))
    means = [sum_ / count for sum_, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _line(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line from the lower edge of the first box to the upper edge of the last."""
    (x, y), *rest = points
    y += HEIGHT
    path = f"M{x:.1f},{y:.1f}"
    for number, (next_x, next_y) in enumerate(rest):
        last = number == len(rest) - 1
        end = next_y - 7 if last else next_y
        middle = (y + end) / 2
        path += f" C{x:.1f},{middle:.1f} {next_x:.1f},{middle:.1f} {next_x:.1f},{end:.1f}"
        x, y = next_x, end
        if not last:
            # straight past the boxes of the row
            y = next_y + HEIGHT
            path += f" L{x:.1f},{y:.1f}"
    return path
