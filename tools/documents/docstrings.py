"""What the source says of a class and of its fields, as a cell of a table in Markdown."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from functools import cache

from pydantic import BaseModel


@cache
def of_fields(model: type[BaseModel]) -> dict[str, str]:
    """Field → the docstring that stands below it, for each field of `model` that has one."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, below in itertools.pairwise(statements):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[field.target.id] = below.value.value
    return found


def of_class(model: type[BaseModel]) -> str:
    """The first paragraph of the docstring of `model` itself, not of what it inherits from."""
    return (inspect.cleandoc(model.__doc__ or "")).partition("\n\n")[0]


def cell(text: str) -> str:
    """`text` on one line of a table."""
    joined = re.sub(r"\s+", " ", text).strip()
    return joined.replace("``", "`").replace("|", "\\|")


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
