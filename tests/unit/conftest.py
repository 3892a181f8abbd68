"""Fixtures of the tests of components."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

# a plain module beside the tests, which are no package
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def iam() -> ModuleType:
    """The evaluator of policies: `iam.allowed`, `iam.verdict`, `iam.Request`."""
    import iam_evaluation

    return iam_evaluation
