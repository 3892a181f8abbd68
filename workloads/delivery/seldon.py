"""What a component takes from Seldon Core's Python package, where that is installed.

The image of the models' servers holds none of it: its licence (BUSL-1.1) forbids production use
without a contract, and the shells of this repository need nothing of it. With the package a
component is one of Seldon's, and runs under `seldon-core-microservice` too.
"""

from __future__ import annotations

try:
    from seldon_core.flask_utils import SeldonMicroserviceException
    from seldon_core.user_model import SeldonComponent, SeldonNotImplementedError
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "seldon_core":
        raise

    class SeldonComponent:  # type: ignore[no-redef]
        """Stands for Seldon's, of which a component overrides all that is used here."""

    class SeldonNotImplementedError(Exception):  # type: ignore[no-redef]
        """A component does not answer this kind of message."""

    class SeldonMicroserviceException(Exception):  # type: ignore[no-redef]  # noqa: N818 as Seldon's
        """A failure with its HTTP status."""

        def __init__(
            self, message: str, status_code: int = 400, reason: str = "MICROSERVICE_BAD_DATA"
        ) -> None:
            super().__init__(message)
            self.message, self.status_code, self.reason = message, status_code, reason


__all__ = ["SeldonComponent", "SeldonMicroserviceException", "SeldonNotImplementedError"]
