"""How a pod signs in to MLflow: with the token of its service account, read for each request.

MLflow finds the class by an entry point of this distribution and takes it where
`MLFLOW_TRACKING_AUTH` is `falaj`. The kubelet writes a new token before the old one ends; one in a
variable would end with its first hour. Imports no MLflow, which imports it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = "FALAJ_TRACKING_TOKEN_FILE"
"""Names the file that the token is in."""


class PodToken:
    """The token in the file that `FILE` names. A request raises `KeyError` or `OSError` where there
    is none.
    """

    def get_name(self) -> str:
        """As `MLFLOW_TRACKING_AUTH` names it."""
        return "falaj"

    def get_auth(self) -> Callable[[Any], Any]:
        """What `requests` calls with each request."""
        return _signed


def _signed(request: Any) -> Any:
    token = Path(os.environ[FILE]).read_text(encoding="utf-8").strip()
    request.headers["Authorization"] = f"Bearer {token}"
    return request
