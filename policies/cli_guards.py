"""`falaj policy scp`, `rcp` and `admission`: what the packs declare, for AWS and Kubernetes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from policies.common.configuration import Configured

app = typer.Typer()
_ORGANISATION = re.compile(r"o-[a-z0-9]{10,32}")

Config = Annotated[
    Path | None, typer.Option(help="JSON: rule → level, or its parameters and exceptions.")
]
Environment = Annotated[
    str | None, typer.Option("--environment", "-e", help="The packs' own file of that name.")
]
Arns = list[str] | None


@app.command()
def scp(
    config: Config = None,
    environment: Environment = None,
    break_glass: Annotated[
        Arns, typer.Option(help="ARN (pattern) of who may do all; instead of Falaj's own roles.")
    ] = None,
    deployer: Annotated[
        Arns, typer.Option(help="ARN (pattern) of who may open and close an account's defences.")
    ] = None,
    remover: Annotated[
        Arns, typer.Option(help="ARN (pattern) of who may delete keys and records besides.")
    ] = None,
) -> None:
    """Print the service control policy: what nobody does in an account, its administrators too.

    Example: falaj policy scp -e prod > scp.json, then aws organizations create-policy
    --type SERVICE_CONTROL_POLICY --name falaj --description falaj --content file://scp.json
    """
    from policies.declared import allowed_regions
    from policies.guards.organisation import FALAJ, Roles, service_control_policy

    roles = Roles(
        emergency=FALAJ.emergency if break_glass is None else break_glass,
        deploying=FALAJ.deploying if deployer is None else deployer,
        removing=FALAJ.removing if remover is None else remover,
    )
    regions = allowed_regions(_configured(config, environment))
    typer.echo(service_control_policy(regions, roles))


@app.command()
def rcp(
    organisation: Annotated[str, typer.Option(help="The organisation's id: o-…")],
    config: Config = None,
    environment: Environment = None,
) -> None:
    """Print the resource control policy: no strangers, and nothing without TLS.

    Example: falaj policy rcp -e prod --organisation o-exampleorgid > rcp.json, then
    aws organizations create-policy --type RESOURCE_CONTROL_POLICY --name falaj
    --description falaj --content file://rcp.json
    """
    from policies.cli import InputError
    from policies.declared import allowed_accounts
    from policies.guards.organisation import resource_control_policy

    if not _ORGANISATION.fullmatch(organisation):
        raise InputError(f"--organisation: is {organisation}; an id is like o-exampleorgid")
    accounts = allowed_accounts(_configured(config, environment))
    typer.echo(resource_control_policy(organisation, accounts))


@app.command()
def admission(
    config: Config = None,
    environment: Environment = None,
    account: Annotated[
        str | None, typer.Option(help="The account whose registry {accountId} stands for.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A label that every pod must have; can be repeated.")
    ] = None,
) -> None:
    """Print the ValidatingAdmissionPolicies and their bindings, for `kubectl apply -f -`.

    Example: falaj policy admission -e prod --account 123456789012 | kubectl apply -f -
    """
    from policies.declared import pod_rules
    from policies.guards.admission import manifests
    from policies.guards.pods import checks

    rules = pod_rules(_configured(config, environment), account=account, labels=label or ())
    typer.echo(json.dumps(manifests(checks(rules)), indent=2, ensure_ascii=False))


def _configured(config: Path | None, environment: str | None) -> list[Configured]:
    from policies.cli import configuration, read_json
    from policies.common.configuration import configured
    from policies.packs import RULES

    file = configuration(config, environment)
    return configured(RULES, json.loads(read_json(file)) if file is not None else None)
