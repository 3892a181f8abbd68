"""Every place keeps the contract with teams: the same assertions on the outputs of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from components.contract import ContractError, PlatformOutputs

if TYPE_CHECKING:
    from conftest import Deployed

KeepsContract = Callable[[dict[str, Any], dict[str, Any]], PlatformOutputs]


def test_dev_keeps_the_contract(dev: Deployed, assert_keeps_contract: KeepsContract) -> None:
    outputs = assert_keeps_contract(dev.outputs, dev.shown_outputs)

    assert (outputs.environment, outputs.place) == ("dev", "aws")
    assert outputs.capabilities == ("artifacts", "node_pools", "tenancy")


def test_a_consumer_of_what_dev_lacks_is_told_so(dev: Deployed) -> None:
    with pytest.raises(ContractError, match="dev has no tracking"):
        PlatformOutputs.parse(dev.shown_outputs).require("artifacts", "tracking")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("artifact_uri", "falaj-dev-artifacts"),
        ("region", "eu-west-1"),
        ("kubeconfig", ""),
        ("tracking_uri", "ftp://tracking"),
        ("capabilities", ["artifacts"]),
        ("contract_version", "2.0"),
        ("stranger", 1),
    ],
)
def test_a_place_that_breaks_its_promise_is_caught(
    dev: Deployed, assert_keeps_contract: KeepsContract, field: str, value: object
) -> None:
    with pytest.raises((AssertionError, ContractError)):
        assert_keeps_contract(dev.outputs, dev.shown_outputs | {field: value})


def test_a_secret_exported_in_plain_is_caught(
    dev: Deployed, assert_keeps_contract: KeepsContract
) -> None:
    with pytest.raises(AssertionError, match="in plain"):
        assert_keeps_contract(dev.shown_outputs, dev.shown_outputs)
