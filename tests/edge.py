"""The edge of a mesh, as far as a split hangs on it: the bucket of a request, and its route.

The bucket is computed by the filter's own text, on the Lua that HAProxy holds. The route is chosen
as Istio documents it (istio.io, "VirtualService"): rules in their order, the first of which one
condition holds wholly; a delegate stands in the place of the rule that names it, one that lacks
takes that rule out. What no platform writes is refused, so that nothing is passed over.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from components.kubernetes.edge import BUCKET_HEADER, BUCKET_LUA, ENTITY_HEADER

_HARNESS = """
for line in io.lines("{given}") do
  local values = {{["{entity}"] = line}}
  local headers = {{
    get = function(_, name) return values[name] end,
    replace = function(_, name, value) values[name] = value end,
  }}
  envoy_on_request({{headers = function() return headers end}})
  found:write(values["{bucket}"], "\\n")
end
found:close()
"""


def buckets(entities: Sequence[str], folder: Path) -> dict[str, str]:
    """Entity → what the filter puts into the bucket's header."""
    given, found, script = (folder / name for name in ("given", "found", "bucket.lua"))
    given.write_text("\n".join(entities) + "\n")
    script.write_text(
        f'local found = io.open("{found}", "w")\n{BUCKET_LUA}'
        + _HARNESS.format(given=given, entity=ENTITY_HEADER, bucket=BUCKET_HEADER)
    )
    configuration = folder / "lua.cfg"
    configuration.write_text(f"global\n    lua-load {script}\n")
    haproxy = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/bin")
    assert haproxy, "haproxy is not installed"
    checked = subprocess.run(
        [haproxy, "-c", "-f", str(configuration)], capture_output=True, text=True, check=False
    )
    assert found.exists(), checked.stderr
    return dict(zip(entities, found.read_text().split(), strict=True))


Find = Callable[[str, str], Any]
"""Namespace and name → the VirtualService, `None` where there is none."""


def chosen(root: Any, find: Find, path: str, headers: dict[str, str]) -> tuple[str, Any]:
    """The host that a request is sent to, and the rule that says so."""
    for rule in _joined(root, find):
        if not rule.get("match") or any(_holds(one, path, headers) for one in rule["match"]):
            (target,) = rule["route"]
            assert target.get("weight", 100) == 100, "a share drawn per request"
            return target["destination"]["host"], rule
    raise AssertionError(f"404: no rule for {path}")


def _joined(root: Any, find: Find) -> list[Any]:
    rules: list[Any] = []
    for rule in root["spec"]["http"]:
        if "delegate" not in rule:
            rules.append(rule)
            continue
        assert "route" not in rule
        namespace = rule["delegate"]["namespace"]
        found = find(namespace, rule["delegate"]["name"])
        if found is None:
            continue
        spec = found["spec"]
        assert not {"hosts", "gateways"} & set(spec), "this is no delegate"
        if not {"*", root["metadata"]["namespace"]} & set(spec.get("exportTo", ["*"])):
            continue
        inherited = {key: rule[key] for key in ("rewrite", "timeout", "retries") if key in rule}
        for inner in spec["http"]:
            outer_match, inner_match = rule.get("match", []), inner.get("match", [])
            if outer_match and inner_match:
                match = [
                    outer | one | {"headers": outer.get("headers", {}) | one.get("headers", {})}
                    for one in inner_match
                    for outer in outer_match
                ]
            else:
                match = outer_match or inner_match
            rules.append(inherited | inner | {"match": match})
    return rules


def _holds(condition: Any, path: str, headers: dict[str, str]) -> bool:
    assert set(condition) <= {"uri", "headers"}, condition
    given: list[tuple[Any, str | None]] = []
    if "uri" in condition:
        given.append((condition["uri"], path))
    given += [(wanted, headers.get(name)) for name, wanted in condition.get("headers", {}).items()]
    return all(_is(wanted, value) for wanted, value in given)


def _is(wanted: Any, value: str | None) -> bool:
    ((kind, text),) = wanted.items()
    if value is None:
        return False
    if kind == "regex":
        return re.fullmatch(text, value) is not None
    return value == text if kind == "exact" else value.startswith(text)
