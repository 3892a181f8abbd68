"""Settings of an environment that nothing watches and nothing copies, for tests of other parts."""

from __future__ import annotations

from typing import Any

_OFF = {"mode": "off", "reason": "a test of another part"}

UNWATCHED: dict[str, Any] = {
    "audit": dict.fromkeys(
        ("trail", "recorder", "threats", "posture", "access_analyzer", "account_defaults"), _OFF
    ),
    "backup": _OFF,
    "logs": _OFF,
}
"""Of `AwsSettings`, the sections of oversight."""
