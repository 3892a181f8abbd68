"""Who provides a part: this environment, or somebody else."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from components.section import Section


class Provision(Section):
    """A part that an organisation may run for all its accounts."""

    mode: Literal["own", "existing", "off"] = "own"
    """`own` makes it, `existing` means that somebody else has, `off` that nobody does."""
    reason: str = ""
    """Who runs it, or why nobody does; needed wherever `mode` is not `own`."""

    @field_validator("mode", mode="before")
    @classmethod
    def _off_is_no_truth_value(cls, mode: Any) -> Any:
        """YAML reads a bare ``off`` as false."""
        return "off" if mode is False else mode

    @property
    def own(self) -> bool:
        """Whether it is made here."""
        return self.mode == "own"

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if not self.own and not self.reason.strip():
            raise ValueError(
                f"mode is {self.mode} without a reason: say in `reason` who runs it instead, or "
                "why nobody does"
            )
        return self
