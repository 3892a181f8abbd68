"""One way to print a table on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def show(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    figures: Sequence[str] = (),
    total: Sequence[str] | None = None,
    notes: Iterable[str] = (),
) -> None:
    """Prints `rows` under `headings`, `total` below a line, and `notes` below the table.

    The columns `figures` are set to the right; the others are folded where they are too wide.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading in headings:
        if heading in figures:
            table.add_column(heading, justify="right")
        else:
            table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    if total is not None:
        table.add_section()
        table.add_row(*total)
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note)
