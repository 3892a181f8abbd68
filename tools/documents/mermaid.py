"""A flowchart in Mermaid, which code hosts draw and which can be compared line by line."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WIDE = '%%{init: {"flowchart": {"wrappingWidth": 500}}}%%'
"""Lines are as long as they are written."""
_A_LINE = 30
"""Characters of a line in a box, at most, unless one name is longer."""


class Chart:
    """A flowchart as it is written down."""

    def __init__(self, direction: str) -> None:
        self._lines = [f"flowchart {direction}"]
        self._depth = 1
        self._ids: dict[str, str] = {}

    def id(self, thing: str, title: str = "") -> str:
        """What stands for `thing` in the text: made of its title, so that a new one moves none."""
        if thing not in self._ids:
            wanted = "n_" + re.sub(r"\W+", "_", title or thing).strip("_").lower()
            taken = set(self._ids.values())
            free = (wanted, *(f"{wanted}_{number}" for number in range(2, len(taken) + 3)))
            self._ids[thing] = next(one for one in free if one not in taken)
        return self._ids[thing]

    def box(self, thing: str, *lines: str, stateful: bool = False) -> None:
        """A box with `lines`; a cylinder where it is `stateful`."""
        text = "<br/>".join(line.replace('"', "'") for line in lines)
        shape = f'[("{text}")]' if stateful else f'["{text}"]'
        self.add(f"{self.id(thing, lines[0])}{shape}")

    def arrow(self, start: str, end: str, label: str = "", line: str = "-->") -> None:
        """An arrow; both ends may also be frames."""
        said = f'|"{label}"|' if label else ""
        self.add(f"{self.id(start)} {line}{said} {self.id(end)}")

    def group(self, thing: str, title: str) -> Group:
        """A frame round what is added inside of `with`."""
        self.add(f'subgraph {self.id(thing, title)}["{title}"]')
        return Group(self)

    def add(self, line: str) -> None:
        """A line of Mermaid."""
        self._lines.append(f"{'    ' * self._depth}{line}")

    def shift(self, by: int) -> None:
        """Moves the lines that follow."""
        self._depth += by

    def text(self) -> str:
        """The chart as a block of Markdown."""
        return "\n".join(("```mermaid", _WIDE, *self._lines)) + "\n```\n"


class Group:
    """What stands inside of a frame."""

    def __init__(self, chart: Chart) -> None:
        self._chart = chart

    def __enter__(self) -> None:
        self._chart.shift(1)

    def __exit__(self, *_: object) -> None:
        self._chart.shift(-1)
        self._chart.add("end")


def wrapped(names: Iterable[str]) -> list[str]:
    """`names` on lines of a box."""
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) + 2 <= _A_LINE:
            lines[-1] += f", {name}"
        else:
            if lines:
                lines[-1] += ","
            lines.append(name)
    return lines
