"""Dagsters and notebooks as both places join them: whose database, secrets, names and rights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import pytest
import yaml
from typer.testing import CliRunner
from unwatched import UNWATCHED

from components.aws.access import IDENTITIES
from components.aws.place import AwsPlace, AwsPlaceArgs
from components.aws.placement import Placement
from components.aws.settings.aws import AwsSettings
from components.aws.settings.cluster import ExistingCluster
from components.aws.settings.database import DatabaseSettings, role_of_team
from components.aws.settings.identity import problems_of_teams
from components.aws.settings.secrets import generated, secret_folders
from components.contract import TeamOutputs
from components.images import Lock, made_up
from components.kubernetes.layer_settings import LayerError, LayerSettings
from components.kubernetes.place import KubernetesPlace, KubernetesPlaceArgs
from components.kubernetes.place_settings import KubernetesSettings
from stacks import database
from stacks.database import DatabaseError
from stacks.settings import SettingsError, parse

if TYPE_CHECKING:
    from conftest import Recorded, Recording

Record = Callable[[Callable[[], object]], "Recording"]

AUTHORITY = re.findall(
    r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?",
    Path(certifi.where()).read_text(encoding="utf-8"),
    re.DOTALL,
)[0]
PAGES = {
    "host": "pages.ml.bank.example",
    "issuer": "https://sign-in.bank.example",
    "client_id": "falaj",
}
ORCHESTRATION: dict[str, Any] = {
    "pages": PAGES,
    "teams": {"credit": {"locations": ["scoring"]}, "credit-risk": {"locations": ["limits"]}},
}
WORKSPACES: dict[str, Any] = {
    "pages": PAGES,
    "image": f"harbor.bank.example/falaj/workspace@sha256:{'0' * 64}",
    "users": {"mariam": {"email": "mariam@bank.example", "team": "fraud"}},
}
TEAMS: dict[str, Any] = {
    "credit": {"groups": {"developer": ["credit-makers"]}},
    "credit-risk": {"groups": {"viewer": ["risk"]}},
    "fraud": {},
}
LAYER: dict[str, Any] = {
    "operators": {},
    "storage_classes": {
        "default": "local",
        "existing": {"local": "LUKS on every node, keys in the bank's HSM"},
    },
    "organisation": ["10.80.1.0/24"],
    "orchestration": ORCHESTRATION,
    "workspaces": WORKSPACES,
    "teams": TEAMS,
}
SITE: dict[str, Any] = {
    "registry": "harbor.bank.example",
    "domain": "ml.bank.example",
    "pools": {"general": {"kind": "cpu", "cpus": 14, "memory_gib": 56, "max_nodes": 6}},
    "database_authorities": AUTHORITY,
    "orchestration": {
        "credit": "postgresql://dagster_credit@db.bank.example/dagster_credit",
        "credit-risk": "postgresql://dagster_risk@db.bank.example:5432/dagster_risk",
    },
}


def unwrapped(teams: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The fields of teams, the names of their namespaces being those of the teams."""
    return {team: fields | {"namespace": team} for team, fields in teams.items()}


def on_a_site(
    record: Record,
    layer: dict[str, Any] | None = None,
    made: list[KubernetesPlace] | None = None,
) -> Recording:
    args = KubernetesPlaceArgs(
        environment="dev",
        kubernetes=KubernetesSettings.model_validate(SITE),
        layer=LayerSettings.model_validate(LAYER | (layer or {})),
        kubeconfig="one",
        lock=made_up(Lock()),
    )
    places = made if made is not None else []
    return record(lambda: places.append(KubernetesPlace("site", args)))


def on_aws(record: Record, **aws: Any) -> Recording:
    args = AwsPlaceArgs(
        environment="dev",
        owner="ml-platform",
        residency_mode="in-country",
        aws=AwsSettings(
            account_id="123456789012",
            existing_cluster=ExistingCluster(
                name="falaj-dev", subnet_ids={"me-central-1a": "subnet-0a1b2c3d4e5f60718"}
            ),
            **UNWATCHED,
            **aws,
        ),
        layer=LayerSettings.model_validate(LAYER),
        placement=Placement(
            vpc_id="vpc-1", subnet_ids=["subnet-a", "subnet-b"], client_security_group_id="sg"
        ),
        kubeconfig="one",
        lock=made_up(Lock()),
    )
    return record(lambda: AwsPlace("dev", args))


@pytest.fixture(scope="module")
def kept() -> dict[str, Recording]:
    """What was recorded once, and is only read."""
    return {}


@pytest.fixture
def site(record: Record, kept: dict[str, Recording]) -> Recording:
    if "site" not in kept:
        kept["site"] = on_a_site(record)
    return kept["site"]


@pytest.fixture
def aws(record: Record, kept: dict[str, Recording]) -> Recording:
    if "aws" not in kept:
        kept["aws"] = on_aws(record)
    return kept["aws"]


def named(made: Recording, kind: str, namespace: str, name: str) -> Recorded:
    """The object of that name in that namespace."""
    (found,) = [
        one
        for one in made.of(kind)
        if (one.inputs["metadata"]["namespace"], one.inputs["metadata"]["name"])
        == (namespace, name)
    ]
    return found


def storage(made: Recording, team: str) -> dict[str, Any]:
    """What the files of a team's instance say of its database."""
    files = named(made, "ConfigMap", team, "dagster").inputs["data"]
    found: dict[str, Any] = yaml.safe_load(files["dagster.yaml"])["storage"]["postgres"]
    return found


def asked_of_stores(made: Recording) -> dict[tuple[str, str], tuple[str, set[str]]]:
    """Namespace and name of each Secret of these parts → its store, and what it asks of it."""
    return {
        (one.inputs["metadata"]["namespace"], one.inputs["metadata"]["name"]): (
            one.inputs["spec"]["secretStoreRef"]["name"],
            {each["remoteRef"]["key"] for each in one.inputs["spec"]["data"]},
        )
        for one in made.of("ExternalSecret")
        if "dagster" in one.inputs["metadata"]["name"]
        or "workspace" in one.inputs["metadata"]["name"]
    }


def mib_of(quantity: str) -> int:
    """MiB."""
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


# --- databases ------------------------------------------------------------------------------------


def test_each_team_is_joined_to_the_database_that_the_site_names_for_it(site: Recording) -> None:
    made = site
    credit, risk = (storage(made, team)["postgres_db"] for team in ("credit", "credit-risk"))

    assert (credit["hostname"], credit["port"]) == ("db.bank.example", 5432)
    assert (credit["username"], credit["db_name"]) == ("dagster_credit", "dagster_credit")
    assert (risk["username"], risk["db_name"]) == ("dagster_risk", "dagster_risk")
    for one in (credit, risk):
        assert one["params"]["sslmode"] == "verify-full"
        assert one["password"] == {"env": "DAGSTER_PG_PASSWORD"}


def test_on_aws_a_team_signs_in_as_the_user_that_its_roles_may_be(aws: Recording) -> None:
    made = aws
    roles = {one.inputs["role"]: one.inputs["policy"] for one in made.of("RolePolicy")}
    for team, other in (("credit", "credit-risk"), ("credit-risk", "credit")):
        told = storage(made, team)
        assert told["auth_provider"] == {"aws_wif": {"region": "me-central-1"}}
        assert told["postgres_db"]["hostname"] == "database.example"
        user = told["postgres_db"]["username"]
        assert (user, told["postgres_db"]["db_name"]) == (role_of_team("orchestration", team),) * 2
        for noun in (f"orchestration-{team}-pages", f"orchestration-{team}-daemon", f"team-{team}"):
            policy = roles[f"falaj-dev-{noun}"]
            assert f'/{user}"' in policy
            assert f'/{role_of_team("orchestration", other)}"' not in policy
    assert "rds-db" not in roles["falaj-dev-team-fraud"]


def test_the_pods_take_the_roles_that_their_accounts_are_bound_to(aws: Recording) -> None:
    made = aws
    bound = {
        (one.inputs["namespace"], one.inputs["serviceAccount"]): one.inputs["roleArn"]
        for one in made.of("PodIdentityAssociation")
    }
    for team in ("credit", "credit-risk"):
        for noun in ("pages", "daemon"):
            deployment = named(made, "Deployment", "orchestration", f"{team}-{noun}").inputs
            account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
            arn = bound["orchestration", account]
            assert arn == f"arn:dev-identity-orchestration-{team}-{noun}-role"


def test_the_script_of_roles_knows_every_team_with_a_dagster() -> None:
    made = DatabaseSettings().with_teams("orchestration", ("credit", "credit-risk"))

    assert made.consumers["orchestration_credit_risk"] == ("orchestration_credit_risk",)
    assert "tracking" in made.consumers
    assert "orchestration_fraud" not in made.consumers
    with pytest.raises(ValueError, match="'orchestration_credit' is there twice"):
        DatabaseSettings(consumers={"reports": ("orchestration_credit",)}).with_teams(
            "orchestration", ("credit",)
        )


def test_the_script_can_be_had_before_anything_is_made() -> None:
    printed = CliRunner().invoke(database.app, ["-s", "prod"])

    assert printed.exit_code == 0
    assert 'CREATE ROLE "orchestration_credit" LOGIN' in printed.stdout
    assert "orchestration_fraud" not in printed.stdout
    assert 'GRANT rds_iam TO "orchestration_credit";' in printed.stdout
    assert isinstance(CliRunner().invoke(database.app, ["-s", "local"]).exception, DatabaseError)
    known = CliRunner().invoke(database.app, ["-s", "prod", "--authorities"]).stdout
    assert known.startswith("-----BEGIN CERTIFICATE-----\n")


def test_no_role_of_the_platform_is_let_into_the_databases_of_all_teams() -> None:
    assert IDENTITIES["orchestration"].database_user is None


# --- secrets --------------------------------------------------------------------------------------


def test_each_namespace_asks_its_own_store_and_only_for_what_its_pods_need(aws: Recording) -> None:
    assert asked_of_stores(aws) == {
        ("orchestration", "credit-dagster"): (
            "falaj-orchestration",
            {"client-secret", "cookie-secret"},
        ),
        ("orchestration", "credit-risk-dagster"): (
            "falaj-orchestration",
            {"client-secret", "cookie-secret"},
        ),
        ("fraud", "workspace-mariam"): (
            "falaj-fraud",
            {"workspace-client-secret", "workspace-cookie-secret"},
        ),
    }


def test_a_database_without_iam_is_signed_in_to_by_a_password_of_the_team(record: Record) -> None:
    existing = {
        "address": "pg.bank.example",
        "administrator_arn": "arn:aws:secretsmanager:me-central-1:1:secret:pg",
    }
    told = {"existing": existing, "authorities": AUTHORITY}
    made = on_aws(record, database=DatabaseSettings.model_validate(told))
    asked = asked_of_stores(made)

    assert "auth_provider" not in storage(made, "credit")
    assert asked["orchestration", "credit-dagster"] == (
        "falaj-orchestration",
        {"client-secret", "cookie-secret", "credit-database-password"},
    )
    # a store answers one namespace: the platform's would refuse the team's
    assert asked["credit", "dagster"] == ("falaj-credit", {"dagster-database-password"})


def test_what_is_random_is_generated_where_a_store_looks_for_it() -> None:
    folders, made = secret_folders(TEAMS), generated(TEAMS)

    assert f"{folders['orchestration']}cookie-secret" in made
    assert f"{folders['fraud']}workspace-cookie-secret" in made
    # what the identity provider gave is nobody's to make up
    assert not [noun for noun in made if "client-secret" in noun]


def test_a_site_without_a_store_is_asked_for_nothing(site: Recording) -> None:
    assert asked_of_stores(site) == {}


# --- what people and pods find --------------------------------------------------------------------


def test_the_gateway_answers_for_models_first_and_for_pages(site: Recording) -> None:
    made = site
    (server,) = made.the("Gateway", "edge").inputs["spec"]["servers"]
    routes = {one.inputs["spec"]["hosts"][0] for one in made.of("VirtualService")}

    assert server["hosts"] == ["./serving.ml.bank.example", "./pages.ml.bank.example"]
    assert routes == {"pages.ml.bank.example"}


def test_people_are_told_where_the_dagster_of_their_team_is(record: Record) -> None:
    places: list[KubernetesPlace] = []
    on_a_site(record, made=places)
    teams: Any = places[0].fields["teams"]
    told = {team: TeamOutputs.model_validate(fields) for team, fields in unwrapped(teams).items()}

    assert told["credit"].own_orchestrator_url == "https://pages.ml.bank.example/dagster/credit"
    assert told["fraud"].own_orchestrator_url is None
    loads = told["credit"].orchestration
    assert loads is not None
    assert loads.locations
    assert loads.by_password, "a site has no identities of a cloud"
    assert told["fraud"].orchestration is None


def test_a_team_without_a_dagster_has_no_pods_in_the_platforms_namespace(site: Recording) -> None:
    made = site
    there = {
        one.inputs["metadata"]["name"]
        for one in made.of("Deployment")
        if one.inputs["metadata"].get("namespace") == "orchestration"
    }
    assert there == {
        f"{team}-{noun}" for team in ("credit", "credit-risk") for noun in ("pages", "daemon")
    }


def test_without_dagsters_there_is_no_namespace_of_theirs(record: Record) -> None:
    made = on_a_site(record, {"orchestration": None})

    assert not [one for one in made.of("Namespace") if "orchestration" in one.name]
    assert made.of("CronJob"), "notebooks are there without them"


def test_the_namespace_holds_what_all_its_pods_ask_for(site: Recording) -> None:
    made = site
    quota = named(made, "ResourceQuota", "orchestration", "team").inputs["spec"]["hard"]
    asked = sum(
        mib_of(container["resources"]["requests"]["memory"]) * one.inputs["spec"]["replicas"]
        for one in made.of("Deployment")
        if one.inputs["metadata"].get("namespace") == "orchestration"
        for container in one.inputs["spec"]["template"]["spec"]["containers"]
    )
    assert asked <= mib_of(quota["requests.memory"])


def test_in_the_mesh_the_pages_are_asked_by_the_gateway_alone(site: Recording) -> None:
    rules = {
        one.inputs["metadata"]["name"]: one.inputs["spec"]
        for one in site.of("AuthorizationPolicy")
        if one.inputs["metadata"]["namespace"] == "orchestration"
    }
    assert rules["falaj-deny-all"] == {}
    assert {name for name in rules if "from-" in name} == {
        "falaj-from-serving",
        "falaj-from-monitoring",
    }


# --- what cannot be -------------------------------------------------------------------------------


def test_a_team_without_a_database_of_the_place_is_told_where_to_name_one(record: Record) -> None:
    more = ORCHESTRATION | {"teams": ORCHESTRATION["teams"] | {"fraud": {"locations": ["cards"]}}}
    with pytest.raises(LayerError, match=r"orchestration\.teams\.fraud: this place names no data"):
        on_a_site(
            record,
            {"orchestration": more, "teams": TEAMS | {"fraud": {"groups": {"viewer": ["fraud"]}}}},
        )


def settings(layer: dict[str, Any] | None = None, **site: Any) -> None:
    config = {"place": "kubernetes", "kubernetes": SITE | site, **LAYER, **(layer or {})}
    parse(
        "site",
        {
            f"falaj:{key}": value if isinstance(value, str) else json.dumps(value)
            for key, value in config.items()
            if value is not None
        },
    )


def test_what_the_site_names_fits_together() -> None:
    settings()


@pytest.mark.parametrize(
    ("layer", "site", "problem"),
    [
        (
            {"operators": None},
            {},
            "falaj:orchestration: needs the operators of others: add operators: {}",
        ),
        (
            {"operators": None, "orchestration": None},
            {},
            "falaj:workspaces: needs the operators of others",
        ),
        (
            {"orchestration": ORCHESTRATION | {"teams": {"cards": {"locations": ["one"]}}}},
            {},
            "falaj:orchestration.teams.cards: is no team; teams are credit, credit-risk, fraud",
        ),
        (
            {"teams": TEAMS | {"credit": {}}},
            {},
            "falaj:orchestration.teams.credit: teams.credit.groups names nobody",
        ),
        (
            {},
            {"database_authorities": None},
            (
                "falaj:kubernetes.database_authorities: is missing, and "
                "orchestration.teams.credit, orchestration.teams.credit-risk verify"
            ),
        ),
        (
            {},
            {"orchestration": {"credit": SITE["orchestration"]["credit"]}},
            "falaj:kubernetes.orchestration: names no database for credit-risk",
        ),
        (
            {},
            {
                "orchestration": {
                    "credit": SITE["orchestration"]["credit"],
                    "credit-risk": "postgresql://other@db.bank.example:5432/dagster_credit",
                }
            },
            "has the database db.bank.example:5432/dagster_credit of credit",
        ),
        (
            {},
            {
                "orchestration": {
                    "credit": SITE["orchestration"]["credit"],
                    "credit-risk": "postgresql://dagster_credit@db.bank.example/other",
                }
            },
            "has the role dagster_credit@db.bank.example:5432 of credit",
        ),
        (
            {},
            {
                "orchestration": SITE["orchestration"]
                | {"credit": "postgresql://one@db.bank.example:6432/one"}
            },
            "port 6432; pods reach services outside on 443, 5432, 6379, 9098 alone",
        ),
        (
            {},
            {"domain": None},
            "falaj:kubernetes.domain: is missing, and nobody would reach the pages",
        ),
        (
            {},
            {"domain": "other.example"},
            "kubernetes.domain: is other.example, and pages are at pages.ml.bank.example",
        ),
        (
            {
                "workspaces": WORKSPACES
                | {
                    "users": {
                        "mariam": {"email": "Mariam@bank.example", "team": "fraud"},
                        "maryam": {"email": "mariam@bank.example", "team": "fraud"},
                    }
                }
            },
            {},
            "maryam.email: mariam@bank.example has the workspace mariam in fraud already",
        ),
        (
            {
                "workspaces": WORKSPACES
                | {
                    "users": {
                        "mariam": {
                            "email": "mariam@bank.example",
                            "team": "fraud",
                            "pool": "fast",
                        }
                    }
                }
            },
            {},
            "falaj:workspaces.users.mariam.pool: fast is none of general",
        ),
    ],
    ids=[
        *("dagster on nothing", "notebooks on nothing", "no team", "nobody", "no authority"),
        "no database",
        *("one database", "one role", "closed port", "no gateway", "other domain"),
        *("named twice", "no pool"),
    ],
)
def test_what_cannot_be_is_said_with_key_value_and_way_out(
    layer: dict[str, Any], site: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(problem)):
        settings(layer, **site)


def test_a_team_whose_dagster_has_too_long_a_role_is_named_at_its_key() -> None:
    long = "a" * 32
    assert problems_of_teams("prod", [long], [long]) == []
    (problem,) = problems_of_teams("staging", [long], [long])
    assert problem.startswith(f"orchestration.teams.{long}: gives the role falaj-staging-orch")
