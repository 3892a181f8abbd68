"""Writes the documents that are made from the program: `make documents`."""

from __future__ import annotations

import sys

from stacks.environment import ROOT
from tools.documents.generated import written


def main() -> None:
    """Writes what is not as it should be, and names it."""
    for name, text in written().items():
        file = ROOT / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{name}: written anew\n")


main()
