"""What a model server is asked: messages of the Seldon protocol, checked against a model's schema.

The schema travels with the model (`Schema.from_metadata`), so that a server needs no other file.
Checks are plain Python on plain values: a request is small, and a data frame is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MAX_RECORDS = 1000
_MAX_PROBLEMS = 5

Value = float | str | None
Record = dict[str, Value]
Form = Literal["ndarray", "records"]


class RequestError(Exception):
    """A request that cannot be answered; the message names the field.

    `code` is the HTTP status, `reason` one word for programs.
    """

    def __init__(self, message: str, code: int = 400, reason: str = "INVALID_REQUEST") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason

    def body(self) -> dict[str, Any]:
        """The failure in the form of the Seldon protocol."""
        return failure(self.code, str(self), self.reason)


def failure(code: int, info: str, reason: str) -> dict[str, Any]:
    """A failure in the form of the Seldon protocol."""
    return {"status": {"code": code, "info": info, "reason": reason, "status": "FAILURE"}}


@dataclass(frozen=True)
class Field:
    """One feature of a request."""

    name: str
    kind: Literal["number", "category"]
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    classification: str = "sensitive"
    edges: tuple[float, ...] | None = None
    """Between the bins of a number, from the training rows; `None` where none are known."""
    groups: tuple[str, ...] = ()
    """Categories of which the training saw many."""

    def check(self, value: Any) -> Value:
        """The value as the model takes it, numbers as float. Raises `ValueError` saying why not."""
        if value is None:
            if self.nullable:
                return None
            raise ValueError("is null")
        return self._number(value) if self.kind == "number" else self._category(value)

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"is {_shown(value)}, expected a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError("is not a finite number")
        if self.minimum is not None and number < self.minimum:
            raise ValueError(f"is {number:g}, allowed from {self.minimum:g}")
        if self.maximum is not None and number > self.maximum:
            raise ValueError(f"is {number:g}, allowed up to {self.maximum:g}")
        return number

    def _category(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"is {_shown(value)}, expected a text")
        if self.categories and value not in self.categories:
            raise ValueError(f"is {_shown(value)}, allowed: {', '.join(self.categories)}")
        return value

    def typical(self) -> Value:
        """A value that passes `check`, to warm a model with."""
        if self.kind == "category":
            return self.categories[0] if self.categories else ""
        bounds = [bound for bound in (self.minimum, self.maximum) if bound is not None]
        return float(sum(bounds) / len(bounds)) if bounds else 0.0

    def json_schema(self) -> dict[str, Any]:
        """The field as JSON Schema."""
        schema: dict[str, Any] = {"type": "number" if self.kind == "number" else "string"}
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        if self.maximum is not None:
            schema["maximum"] = self.maximum
        if self.categories:
            schema["enum"] = list(self.categories)
        if self.nullable:
            return {"anyOf": [schema, {"type": "null"}]}
        return schema


@dataclass(frozen=True)
class Schema:
    """The features that a model wants, its threshold and the name of its positive outcome."""

    fields: tuple[Field, ...]
    threshold: float
    positive: str

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Schema:
        """Reads the metadata `falaj` of a logged model. Raises `ValueError` when it is unfit."""
        try:
            fields = tuple(
                Field(
                    name=str(entry["name"]),
                    kind=entry["kind"],
                    nullable=bool(entry.get("nullable", False)),
                    minimum=entry.get("minimum"),
                    maximum=entry.get("maximum"),
                    categories=tuple(entry.get("categories") or ()),
                    classification=str(entry.get("classification", "sensitive")),
                    **_reference(entry.get("reference") or {}),
                )
                for entry in metadata["features"]
            )
            schema = cls(fields, float(metadata["threshold"]), str(metadata["positive"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the model's metadata lacks or distorts {error}") from error
        wrong = [field.name for field in fields if field.kind not in ("number", "category")]
        if wrong or not fields:
            raise ValueError(f"the model's metadata has no fit kind for {wrong or 'any feature'}")
        return schema

    @property
    def names(self) -> tuple[str, ...]:
        """The features in the model's order."""
        return tuple(field.name for field in self.fields)

    def check(self, given: Sequence[Any]) -> list[Record]:
        """Records as the model takes them. Raises `RequestError` naming record and field."""
        if not given:
            raise RequestError("records: is empty, expected at least one")
        if len(given) > MAX_RECORDS:
            raise RequestError(f"records: {len(given)} of them, allowed up to {MAX_RECORDS}")
        records = []
        problems: list[str] = []
        for number, entry in enumerate(given):
            record: Record = {}
            if not isinstance(entry, dict):
                problems.append(f"records[{number}]: is {_shown(entry)}, expected an object")
            else:
                for field in self.fields:
                    try:
                        record[field.name] = field.check(entry[field.name])
                    except KeyError:
                        problems.append(f"records[{number}].{field.name}: is missing")
                    except ValueError as error:
                        problems.append(f"records[{number}].{field.name}: {error}")
                if len(entry) != len(record):
                    problems += [
                        f"records[{number}].{clipped(str(name))}: is no field of this model"
                        for name in entry
                        if name not in self.names
                    ]
            if len(problems) >= _MAX_PROBLEMS:
                break
            records.append(record)
        if problems:
            raise RequestError("; ".join(problems[:_MAX_PROBLEMS]))
        return records

    def typical(self) -> Record:
        """A record that passes `check`."""
        return {field.name: field.typical() for field in self.fields}


def _reference(known: Mapping[str, Any]) -> dict[str, Any]:
    """What `workloads.delivery.masking.reference` says of a field."""
    edges = known.get("edges")
    return {
        "edges": None if edges is None else tuple(float(edge) for edge in edges),
        "groups": tuple(str(name) for name in known.get("groups") or ()),
    }


def entries(message: Any) -> tuple[Form, list[Any]]:
    """The unchecked records of a Seldon message, and the form it came in.

    Two forms: `{"data": {"names": [...], "ndarray": [[...]]}}` and
    `{"jsonData": {"records": [{...}]}}`. Raises `RequestError`.
    """
    if not isinstance(message, dict):
        raise RequestError(f"the body is {_shown(message)}, expected an object")
    if unknown := set(message) - {"meta", "data", "jsonData"}:
        raise RequestError(
            f"{clipped(min(unknown))}: is no field of a message, "
            "expected data.ndarray or jsonData.records"
        )
    if ("data" in message) == ("jsonData" in message):
        raise RequestError("data: expected either data or jsonData")
    if not isinstance(message.get("meta", {}), dict):
        raise RequestError("meta: expected an object")
    if "jsonData" in message:
        return "records", _list(_object(message["jsonData"], "jsonData", {"records"}), "jsonData")
    data = _object(message["data"], "data", {"names", "ndarray"})
    names, rows = data.get("names"), data.get("ndarray")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError("data.names: expected the list of the columns' names")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"data.names: {clipped(twice)} stands there twice")
    if not isinstance(rows, list):
        raise RequestError("data.ndarray: expected a list of rows")
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise RequestError(f"data.ndarray[{number}]: expected a list of {len(names)} values")
    return "ndarray", [dict(zip(names, row, strict=True)) for row in rows]


def _object(value: Any, where: str, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{where}: is {_shown(value)}, expected an object")
    if unknown := set(value) - allowed:
        raise RequestError(
            f"{where}.{clipped(min(unknown))}: is no field of {where}, "
            f"expected {', '.join(sorted(allowed))}"
        )
    return value


def _list(value: Mapping[str, Any], where: str) -> list[Any]:
    records = value.get("records")
    if not isinstance(records, list):
        raise RequestError(f"{where}.records: expected a list of objects")
    return records


def _shown(value: Any) -> str:
    """A value in a message: never long, and never by a walk into what may be very deep."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return repr(clipped(value))
    return "a number"


def clipped(text: str) -> str:
    """A client's text as it may stand in an answer."""
    # lone surrogates are valid in JSON text and cannot be sent back as UTF-8
    clean = text[:60].encode("utf-8", "backslashreplace").decode()
    return clean if len(text) <= 60 else f"{clean}…"
