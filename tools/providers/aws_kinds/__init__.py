"""The types of AWS by area: what each answers where the table of `aws_types` says nothing else."""

from __future__ import annotations

from standin import Kind

from aws_kinds import audit, compute, database, identity, messaging, network, storage

KINDS: dict[str, Kind] = {
    token: kind
    for area in (audit, compute, database, identity, messaging, network, storage)
    for token, kind in area.KINDS.items()
}
"""Type token → what its resources answer."""
