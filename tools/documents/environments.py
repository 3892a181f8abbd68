"""`docs/environments.md`: in which settings the environments differ, and the two profiles.

Read from the settings as the program reads them: the stack file over its profile over the defaults.
What is the same everywhere has no row.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from components.aws.settings.provision import Provision
from stacks.settings import CONFIG_DIRECTORY, NAMESPACE, PROFILES, Settings, parse, read_file
from tools.documents.docstrings import cell, of_class, of_fields, table

ENVIRONMENTS = ("dev", "test", "staging", "prod")
NONE = "–"
"""Stands where an environment has no such setting, since it lacks or has switched off the part."""

_PART = ("aws", "part")
"""The depth of a section that has a row of its own; deeper ones explain their own keys."""
_IGNORED = frozenset({"environment"})


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting that differs."""

    path: tuple[str, ...]
    values: tuple[str, ...]
    explanation: str


def rows(settings: tuple[Settings, ...]) -> list[Row]:
    """The settings in which `settings` differ from each other, in the order of their fields."""
    return list(_of_section((), Settings, settings))


def document() -> str:
    """The text of `docs/environments.md`. Raises `SettingsError`."""
    read = tuple(read_file(name) for name in ENVIRONMENTS)
    return "\n".join(
        (
            _HEAD,
            _table(rows(read), ENVIRONMENTS),
            _PROFILES_HEAD,
            _table(
                [row for row in rows(of_profiles()) if row.path != ("profile",)],
                tuple(_profile_names()),
            ),
        )
    )


def of_profiles() -> tuple[Settings, ...]:
    """The settings of `prod` under each profile, were its own file to say nothing of what they say.

    So whatever differs between them comes from the profiles alone.
    """
    content = yaml.safe_load((CONFIG_DIRECTORY / "Pulumi.prod.yaml").read_text(encoding="utf-8"))
    raw = {key.partition(":")[2]: value for key, value in content["config"].items()}
    # it stands on a cache, which one of them has not
    raw.pop("feature_store", None)
    for name in _profile_names():
        raw = _without(raw, yaml.safe_load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8")))
    return tuple(
        parse("prod", {f"{NAMESPACE}:{key}": _text(value) for key, value in raw.items()})
        for raw in ({**raw, "profile": name} for name in _profile_names())
    )


def _profile_names() -> list[str]:
    return sorted((file.stem for file in PROFILES.glob("*.yaml")), reverse=True)


def _without(raw: Any, said: Any) -> Any:
    """`raw` without the keys of `said`, mapping by mapping."""
    if not isinstance(raw, dict) or not isinstance(said, dict):
        return raw
    kept = {}
    for key, value in raw.items():
        if key not in said:
            kept[key] = value
        elif isinstance(value, dict) and isinstance(said[key], dict):
            kept[key] = _without(value, said[key])
    return kept


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# --- what differs ---------------------------------------------------------------------------------


def _of_section(
    path: tuple[str, ...], model: type[BaseModel], sections: tuple[Any, ...]
) -> Iterator[Row]:
    """`sections` holds one of each environment, `None` where it has none."""
    said = of_fields(model)
    for name, field in model.model_fields.items():
        values = tuple(None if one is None else getattr(one, name) for one in sections)
        there = [value for value in values if value is not None]
        if name in _IGNORED or not there or _same(values, sections):
            continue
        here = (*path, name)
        inner = _model_of(field.annotation)
        one_kind = len({type(value) for value in there}) == 1
        explanation = said.get(name) or _of_kind(inner if one_kind else None)
        if not explanation and len(path) > len(_PART):
            explanation = of_class(model)
        if isinstance(there[0], dict):
            yield from _of_mapping(here, values, explanation)
        elif isinstance(there[0], Provision):
            yield from _of_provision(here, type(there[0]), values, explanation)
        elif isinstance(there[0], BaseModel) and one_kind:
            inside = list(_of_section(here, type(there[0]), values))
            if len(there) > 1 and inside:
                yield from inside
            else:
                yield _row(here, values, explanation)
        else:
            yield _row(here, values, explanation)


def _of_kind(model: type[BaseModel] | None) -> str:
    """What the class of a section says, unless it says it of any section."""
    return "" if model is None or model is Provision else of_class(model)


def _same(values: tuple[Any, ...], sections: tuple[Any, ...]) -> bool:
    """Whether all environments that have the section say the same in it."""
    said = [value for value, one in zip(values, sections, strict=True) if one is not None]
    return all(value == said[0] for value in said)


def _of_mapping(path: tuple[str, ...], values: tuple[Any, ...], explanation: str) -> Iterator[Row]:
    """One row for each name that a user chose."""
    names = dict.fromkeys(name for one in values if one is not None for name in one)
    for name in names:
        inner = tuple(None if one is None else one.get(name) for one in values)
        if any(one != inner[0] for one in inner):
            yield _row((*path, str(name)), inner, explanation)


def _of_provision(
    path: tuple[str, ...],
    model: type[Provision],
    values: tuple[Provision | None, ...],
    explanation: str,
) -> Iterator[Row]:
    """Whether the part is made, and why not; what holds of it, where it is made."""
    modes = {(one.mode, one.reason) for one in values if one is not None}
    if len(modes) > 1:
        shown = tuple(NONE if one is None else _mode(one) for one in values)
        yield Row(path=path, values=shown, explanation=cell(explanation))
    made = tuple(one if one is not None and one.own else None for one in values)
    for row in _of_section(path, model, made):
        if row.path[-1] not in Provision.model_fields:
            yield row


def _mode(one: Provision) -> str:
    return f"{one.mode} ({cell(one.reason)})" if one.reason else one.mode


def _row(path: tuple[str, ...], values: tuple[Any, ...], explanation: str) -> Row:
    return Row(
        path=path,
        values=tuple(_shown(value) for value in values),
        explanation=cell(explanation),
    )


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, where it holds one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (dict, tuple, typing.Union, types.UnionType):
        found = (_model_of(one) for one in typing.get_args(annotation))
        return next((one for one in found if one is not None), None)
    return None


# --- how it is shown ------------------------------------------------------------------------------


def _shown(value: Any) -> str:
    """A value as it would stand in a stack file, as short as it can be."""
    match value:
        case None:
            return NONE
        case bool():
            return str(value).lower()
        case BaseModel():
            return _named({name: getattr(value, name) for name in _said(value)})
        case Mapping():
            return _named(value)
        case tuple() | list() | frozenset():
            return ", ".join(_shown(one) for one in value) or "none"
        case _:
            first, more, _ = str(value).partition("\n")
            return cell(f"{first} …" if more else first)


def _said(section: BaseModel) -> list[str]:
    """The fields of `section` that are not as they are by default."""
    return [
        name
        for name, field in type(section).model_fields.items()
        if field.is_required()
        or _is_fixed(field.annotation)
        or getattr(section, name) != field.get_default(call_default_factory=True)
    ]


def _is_fixed(annotation: Any) -> bool:
    """Whether a field can have one value only, which says of what kind the section is."""
    return typing.get_origin(annotation) is Literal and len(typing.get_args(annotation)) == 1


def _named(values: Mapping[str, Any]) -> str:
    cells = {name: _shown(value) for name, value in values.items()}
    return (
        "; ".join(
            f"{name} ({shown})" if isinstance(values[name], Mapping) else f"{name} {shown}"
            for name, shown in cells.items()
        )
        or "as by default"
    )


def _table(found: list[Row], headings: tuple[str, ...]) -> str:
    """One table; a row above each part says what the part is."""
    cells: list[tuple[str, ...]] = []
    part: tuple[str, ...] = ()
    said = ""
    for row in found:
        group = row.path[:2] if row.path[0] == "aws" else row.path[:1]
        if group != part and len(row.path) > len(group):
            said = _explanation_of(group)
            cells.append((f"**{group[-1]}**", *("" for _ in headings), said))
        part = group
        # the same words below each other are read once
        explanation = "" if row.explanation == said else row.explanation
        said = row.explanation
        name = ".".join(row.path).removeprefix("aws.")
        cells.append((f"`{name}`", *row.values, explanation))
    return table(("setting", *headings, "what it is"), cells)


def _explanation_of(group: tuple[str, ...]) -> str:
    """What the source says of a section, or of a mapping of them."""
    model: type[BaseModel] = Settings
    said = ""
    for name in group:
        inner = _model_of(model.model_fields[name].annotation)
        said = of_fields(model).get(name) or (of_class(inner) if inner is not None else "")
        model = inner or model
    return cell(said)


_HEAD = """# Environments

<!-- Written by `make documents` from the settings; change those, not this page. -->

In which settings the environments differ. What is the same in all of them has no row: the default
stands in `stacks/settings.py` and `components/aws/settings/`. Each value is the one that the
program gets: the stack file `stacks/config/Pulumi.<environment>.yaml` over its profile over the
defaults.

`–` stands where an environment lacks the part, or has switched it off. Of a pool, a team and the
like only what is not as by default is shown. Accounts, addresses and names of a bank are examples.
"""

_PROFILES_HEAD = """## The profiles

A profile, `stacks/config/profiles/<profile>.yaml`, stands between the defaults and the stack file.
These are the values where the stack file says nothing.
"""
