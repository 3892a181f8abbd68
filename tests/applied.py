"""A program that the engine applies to a control plane of the tests."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from stacks.offline import Offline

KUBECONFIG = "FALAJ_TEST_KUBECONFIG"
"""Where the program finds the cluster."""


@dataclass(frozen=True)
class Program:
    """A program and its stack, applied to the cluster."""

    stack: Offline

    def write(self, text: str) -> None:
        """Another text for the program."""
        (self.stack.directory / "__main__.py").write_text(text)

    def preview(self, *more: str) -> subprocess.CompletedProcess[str]:
        """`pulumi preview`."""
        return self.stack.pulumi("preview", *more)

    def up(self, *more: str) -> subprocess.CompletedProcess[str]:
        """`pulumi up`."""
        return self.stack.pulumi("up", "--yes", "--skip-preview", *more)

    def destroy(self) -> subprocess.CompletedProcess[str]:
        """`pulumi destroy`."""
        return self.stack.pulumi("destroy", "--yes", "--skip-preview")
