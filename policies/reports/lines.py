"""Text that came from outside, made safe to show: names of resources are whatever somebody typed.

A log is read by people and by programs. A line break in a name would begin a line that GitHub takes
for a command (``::add-mask::…``; its older form ``##[…]`` counts anywhere in a line), an escape
sequence would colour or hide lines in a terminal. Source: actions/runner,
src/Runner.Common/ActionCommand.cs.
"""

from __future__ import annotations

_SHOWN = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str) -> str:
    """`text` without anything that ends a line, hides a part of it or commands a program.

    What cannot be printed is written out: control characters, marks that turn the direction of
    writing, breaks of lines and paragraphs, and what XML does not know as a character.
    """
    if not text.isprintable():
        text = "".join(map(_shown, text))
    return text.replace("##[", "## [")


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return _SHOWN.get(character) or f"\\u{ord(character):04x}"
