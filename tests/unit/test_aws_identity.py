"""The roles of workloads on mocks: what each may and may not do, by evaluating all its policies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import Request, condition_keys, decide, statements

from components.aws.access import (
    BUCKET_DOMAINS,
    IDENTITIES,
    TEAM_BUCKETS,
    Domain,
    identities,
    team_prefix,
    team_role,
)
from components.aws.boundary import BoundaryArgs, boundary_statements
from components.aws.identity import (
    WorkloadIdentities,
    WorkloadIdentitiesArgs,
    signing_key_statement,
)
from components.aws.keys import DOMAINS, DomainKeyArgs, key_policy
from components.aws.policy_document import text
from components.aws.scope import Scope
from components.aws.settings.identity import problems_of_teams
from components.aws.settings.keys import KeySettings
from components.kubernetes.flows import RESERVED
from stacks.environment import ROOT
from stacks.settings import SettingsError, parse

if TYPE_CHECKING:
    from conftest import Recorded, Recording

ACCOUNT, REGION = "123456789012", "me-central-1"
SCOPE = Scope(environment="dev", account_id=ACCOUNT, region=REGION, boundary_arn="arn:boundary")
TEAMS = ("credit", "fraud")
KEYS: dict[Domain, str] = {domain: SCOPE.arn("kms", f"key/{domain}") for domain in DOMAINS}
TEAM_KEYS = {team: SCOPE.arn("kms", f"key/of-{team}") for team in TEAMS}
LARGEST_ROLE_POLICIES, LARGEST_TRUST = 10_240, 2_048
Record = Callable[[Callable[[], object]], "Recording"]

PREFIXES = [
    *("artifacts/mlflow/", "artifacts/training/", "artifacts/reports/", "artifacts/orchestration/"),
    "artifacts/metrics/",
    *("data/lake/", "data/lake/shared/", "data/features/", "models/registry/"),
    *("logs/decisions/", "logs/cluster/", "config/AWSLogs/", "backups/database/", "state/.pulumi/"),
    "backups/cluster/",
    *(f"{bucket}/teams/{team}/" for bucket in TEAM_BUCKETS for team in TEAMS),
]
ACTIONS = ("GetObject", "PutObject", "DeleteObject", "ListBucket", "DeleteObjectVersion")
READ, APPEND = {"GetObject", "ListBucket"}, {"PutObject"}
WRITE = READ | APPEND | {"DeleteObject"}
OF_TEAMS = {
    f"team-{team}": {
        **{f"{bucket}/teams/{team}/": WRITE for bucket in TEAM_BUCKETS},
        "data/lake/shared/": READ,
    }
    for team in TEAMS
}
EXPECTED: dict[str, dict[str, set[str]]] = {
    "tracking": {"artifacts/mlflow/": WRITE, "models/registry/": WRITE},
    "training": {
        **dict.fromkeys(("data/lake/", "data/lake/shared/"), READ),
        "artifacts/training/": WRITE,
    },
    "serving": {
        "models/registry/": READ,
        **{f"models/teams/{team}/": READ for team in TEAMS},
        "logs/decisions/": APPEND,
    },
    "monitoring": {
        "logs/decisions/": READ,
        "artifacts/reports/": WRITE,
        "artifacts/metrics/": WRITE,
    },
    "orchestration": {
        **dict.fromkeys(("data/lake/", "data/lake/shared/"), WRITE),
        "artifacts/orchestration/": WRITE,
    },
    "cluster-backup": {"backups/cluster/": WRITE},
    "kyverno": {},
    "external-secrets": {},
    "log-shipping": {"logs/cluster/": APPEND},
    **{f"orchestration-{team}-{noun}": {} for team in TEAMS for noun in ("pages", "daemon")},
    **OF_TEAMS,
}
"""All that is allowed, by identity and prefix: everything else is refused."""


def build(record: Record, *, cluster: str | None = "falaj-dev", **keys: Any) -> Recording:
    return record(
        lambda: WorkloadIdentities(
            "dev",
            WorkloadIdentitiesArgs(
                scope=SCOPE,
                teams=TEAMS,
                orchestrated=TEAMS,
                key_arns=KEYS,
                cluster_name=cluster,
                **keys,
            ),
        )
    )


@pytest.fixture
def made(record: Record) -> Recording:
    return build(record)


def policies(made: Recording, role: str) -> list[str]:
    found = [one.inputs["policy"] for one in made.of("RolePolicy")]
    roles = [one.inputs["role"] for one in made.of("RolePolicy")]
    return [policy for policy, of in zip(found, roles, strict=True) if of == SCOPE.name(role)]


def iam_roles(made: Recording) -> list[Recorded]:
    return [one for one in made.of("Role") if one.type.startswith("aws:")]


def allowed_of(made: Recording, role: str) -> list[dict[str, Any]]:
    return [one for policy in policies(made, role) for one in statements(policy)]


class Asks:
    """What a role may do, its policies, the boundary and a key's policy taken together."""

    def __init__(self, made: Recording) -> None:
        self.made = made
        self.boundary = text(
            *boundary_statements(
                BoundaryArgs(scope=SCOPE, allowed_regions=(REGION,), keep=True),
            )
        )

    def allows(self, role: str, action: str, resource: str, **context: Any) -> bool:
        key = context.pop("key_policy", None)
        request = Request(
            action=action,
            resource=resource,
            principal=SCOPE.role_arn(role),
            context=condition_keys(**context),
        )
        own = policies(self.made, role)
        return decide(request, identity=own, boundary=self.boundary, key=key) == "allowed"

    def on_objects(self, role: str, prefix: str) -> set[str]:
        bucket, _, path = prefix.partition("/")
        arn = SCOPE.bucket_arn(bucket)
        return {
            action
            for action in ACTIONS
            if (
                self.allows(role, "s3:ListBucket", arn, s3__prefix=path)
                if action == "ListBucket"
                else self.allows(role, f"s3:{action}", f"{arn}/{path}some/object")
            )
        }

    def on_key(self, role: str, domain: Domain, action: str, service: str) -> bool:
        args = DomainKeyArgs(scope=SCOPE, domain=domain, settings=KeySettings(), keep=True)
        return self.allows(
            role,
            f"kms:{action}",
            KEYS[domain],
            kms__ViaService=SCOPE.service(service),
            key_policy=text(*key_policy(args)),
        )


@pytest.fixture
def asks(made: Recording) -> Asks:
    return Asks(made)


@pytest.mark.parametrize("role", EXPECTED)
def test_each_identity_does_on_each_prefix_what_it_must_and_nothing_else(
    asks: Asks, role: str
) -> None:
    found = {prefix: asks.on_objects(role, prefix) for prefix in PREFIXES}

    assert {prefix: may for prefix, may in found.items() if may} == EXPECTED[role]


def test_the_table_above_knows_every_identity() -> None:
    assert set(EXPECTED) == set(identities(TEAMS, orchestrated=TEAMS))


@pytest.mark.parametrize("role", EXPECTED)
def test_role_and_key_agree_on_who_opens_what(asks: Asks, role: str) -> None:
    """An object can be read or written exactly where its key can be used for it."""
    allowed: dict[str, set[str]] = {domain: set() for domain in DOMAINS}
    for prefix, may in EXPECTED[role].items():
        allowed[BUCKET_DOMAINS[prefix.partition("/")[0]]] |= may
    for domain in DOMAINS:
        may = allowed[domain]
        assert asks.on_key(role, domain, "Decrypt", "s3") == ("GetObject" in may), domain
        assert asks.on_key(role, domain, "GenerateDataKey", "s3") == ("PutObject" in may), domain
        for service in ("ec2", "rds", "secretsmanager"):
            reads_secrets = (role, domain, service) == (
                *("external-secrets", "secrets", "secretsmanager"),
            )
            assert asks.on_key(role, domain, "Decrypt", service) == reads_secrets


def test_whoever_reads_a_secret_can_open_it_and_nobody_else_reads_one(asks: Asks) -> None:
    secret = SCOPE.secret_arn("tracking/session-key").replace("??????", "a1B2c3")
    other = secret.replace("falaj-dev/", "falaj-prod/")
    for role in EXPECTED:
        may = asks.allows(role, "secretsmanager:GetSecretValue", secret)
        assert may == (role == "external-secrets"), role
        assert not asks.allows(role, "secretsmanager:GetSecretValue", other)
        assert not asks.allows(role, "secretsmanager:PutSecretValue", secret)
    assert asks.on_key("external-secrets", "secrets", "Decrypt", "secretsmanager")


def test_whoever_takes_messages_can_open_them(asks: Asks) -> None:
    queue = SCOPE.arn("sqs", "falaj-dev-arrivals")
    for role in EXPECTED:
        takes = asks.allows(role, "sqs:ReceiveMessage", queue)
        assert takes == (role == "orchestration"), role
        assert asks.on_key(role, "artifacts", "Decrypt", "sqs") == takes


def test_each_consumer_signs_in_to_the_database_as_itself_alone(asks: Asks) -> None:
    users = {"tracking": "tracking"}
    for team in TEAMS:
        own = (f"orchestration-{team}-pages", f"orchestration-{team}-daemon", f"team-{team}")
        users |= dict.fromkeys(own, f"orchestration_{team}")
    for role in EXPECTED:
        for user in (*set(users.values()), "orchestration", "features_credit", "postgres"):
            arn = SCOPE.arn("rds-db", f"dbuser:db-ABCDEFGHIJ/{user}")
            assert asks.allows(role, "rds-db:connect", arn) == (users.get(role) == user), role


def test_a_team_without_a_dagster_signs_in_to_no_database() -> None:
    made = identities(TEAMS, orchestrated=("credit",))

    assert made["team-credit"].database_user == "orchestration_credit"
    assert made["team-fraud"].database_user is None
    assert {noun for noun in made if noun.startswith("orchestration-")} == {
        "orchestration-credit-pages",
        "orchestration-credit-daemon",
    }


def test_the_pods_of_a_dagster_are_who_its_accounts_say(made: Recording) -> None:
    taken = {
        (one.inputs["namespace"], one.inputs["serviceAccount"]): one.inputs["roleArn"]
        for one in made.of("PodIdentityAssociation")
    }
    assert len(set(taken.values())) == len(taken), "nobody shares a role"
    for team in TEAMS:
        for noun in ("pages", "daemon"):
            assert ("orchestration", f"{team}-{noun}") in taken


@pytest.mark.parametrize("role", EXPECTED)
def test_no_identity_acts_in_another_region(asks: Asks, role: str) -> None:
    for prefix, may in EXPECTED[role].items():
        bucket, _, path = prefix.partition("/")
        for action in may - {"ListBucket"}:
            target = f"{SCOPE.bucket_arn(bucket)}/{path}x"
            abroad = {"aws__RequestedRegion": "eu-west-1"}
            assert not asks.allows(role, f"s3:{action}", target, **abroad)


@pytest.mark.parametrize("role", EXPECTED)
def test_an_allow_has_no_wildcard_but_where_aws_knows_no_resource(
    made: Recording, role: str
) -> None:
    groups = {"kms:ReEncrypt*", "kms:GenerateDataKey*"}
    unscoped = {
        a for one in IDENTITIES.get(role, ()) and IDENTITIES[role].unscoped for a in one.actions
    }
    for statement in allowed_of(made, role):
        assert statement["Effect"] == "Allow"
        assert {action for action in statement["Action"] if "*" in action} <= groups
        if "*" in statement["Resource"]:
            assert set(statement["Action"]) <= unscoped, statement["Sid"]


def test_every_action_without_a_resource_says_why() -> None:
    for identity in IDENTITIES.values():
        assert all(len(one.reason) > 20 for one in identity.unscoped)


def test_the_trust_of_a_role_matches_the_service_account_of_its_association(
    made: Recording,
) -> None:
    associations = {one.inputs["roleArn"]: one.inputs for one in made.of("PodIdentityAssociation")}
    roles = iam_roles(made)

    assert len(roles) == len(associations) == len(EXPECTED)
    for role in roles:
        (trust,) = statements(role.inputs["assumeRolePolicy"])
        association = associations[f"arn:{role.name}"]
        assert trust["Principal"] == {"Service": ["pods.eks.amazonaws.com"]}
        assert trust["Condition"]["StringEquals"] == {
            "aws:SourceAccount": ACCOUNT,
            "aws:RequestTag/kubernetes-namespace": association["namespace"],
            "aws:RequestTag/kubernetes-service-account": association["serviceAccount"],
        }
        assert association["clusterName"] == "falaj-dev"
        assert "disableSessionTags" not in association


def test_no_two_identities_share_a_service_account() -> None:
    accounts = [(one.namespace, one.service_account) for one in identities(TEAMS).values()]

    assert len(set(accounts)) == len(accounts)
    assert {one.namespace for one in IDENTITIES.values()} <= RESERVED


def test_every_role_has_the_boundary_and_a_team_s_role_bears_its_tag(made: Recording) -> None:
    for role in iam_roles(made):
        assert role.inputs["permissionsBoundary"] == "arn:boundary"
        team = role.inputs["name"].partition("-team-")[2]
        assert role.inputs.get("tags", {}) == ({"team": team} if team else {})


def test_without_a_cluster_there_are_roles_and_no_associations(record: Record) -> None:
    made = build(record, cluster=None)

    assert len(iam_roles(made)) == len(EXPECTED)
    assert made.of("PodIdentityAssociation") == []


def test_policies_name_only_keys_that_were_handed_down(made: Recording) -> None:
    for role in EXPECTED:
        for statement in allowed_of(made, role):
            for arn in statement["Resource"]:
                if ":kms:" in arn:
                    assert arn in KEYS.values(), arn


def test_with_keys_of_their_own_teams_open_theirs_alone(record: Record) -> None:
    made = build(record, team_key_arns=TEAM_KEYS)
    asks = Asks(made)

    def may(role: str, action: str, team: str) -> bool:
        args = DomainKeyArgs(scope=SCOPE, team=team, settings=KeySettings(), keep=True)
        return asks.allows(
            role,
            f"kms:{action}",
            TEAM_KEYS[team],
            kms__ViaService=SCOPE.service("s3"),
            kms__ResourceAliases=[f"alias/falaj/dev/team/{team}"],
            key_policy=text(*key_policy(args)),
        )

    found = {
        (role, team, action)
        for role in EXPECTED
        for team in TEAMS
        for action in ("Decrypt", "GenerateDataKey")
        if may(role, action, team)
    }
    assert found == {
        *((team_role(team), team, action) for team in TEAMS for action in _BOTH),
        *(("serving", team, "Decrypt") for team in TEAMS),
    }


_BOTH = ("Decrypt", "GenerateDataKey")


def test_a_team_reaches_its_folder_through_its_access_point_too(asks: Asks) -> None:
    for team, other in (TEAMS, TEAMS[::-1]):
        role, point = team_role(team), SCOPE.arn("s3", f"accesspoint/falaj-dev-data-{team}")
        assert asks.allows(role, "s3:PutObject", f"{point}/object/{team_prefix(team)}x")
        assert not asks.allows(role, "s3:PutObject", f"{point}/object/{team_prefix(other)}x")
        theirs = SCOPE.arn("s3", f"accesspoint/falaj-dev-data-{other}")
        assert not asks.allows(role, "s3:GetObject", f"{theirs}/object/{team_prefix(other)}x")


def test_a_team_reads_what_is_shared_through_its_own_door_and_changes_nothing_there(
    asks: Asks,
) -> None:
    """A team may come through its access point alone, so what is shared must be open there."""
    for team, other in (TEAMS, TEAMS[::-1]):
        role, point = team_role(team), SCOPE.access_point_arn("data", team)
        shared = f"{point}/object/lake/shared/rates/1"
        assert asks.allows(role, "s3:GetObject", shared)
        assert asks.allows(role, "s3:ListBucket", point, s3__prefix="lake/shared/rates/")
        for action in ("PutObject", "DeleteObject", "AbortMultipartUpload"):
            assert not asks.allows(role, f"s3:{action}", shared), action
        assert not asks.allows(role, "s3:GetObject", f"{point}/object/lake/loans/1")
        assert not asks.allows(role, "s3:ListBucket", point, s3__prefix="lake/loans/")
        theirs = SCOPE.access_point_arn("data", other)
        assert not asks.allows(role, "s3:GetObject", f"{theirs}/object/lake/shared/rates/1")


SIGNER = "arn:aws:kms:me-central-1:123456789012:key/0a1b2c3d-0000-4000-8000-0123456789ab"
BY_ALIAS = "arn:aws:kms:me-central-1:123456789012:alias/images"


@pytest.mark.parametrize(
    ("named", "key", "context"),
    [
        (SIGNER, SIGNER, {}),
        (BY_ALIAS, SCOPE.arn("kms", "key/other"), {"kms__ResourceAliases": ["alias/images"]}),
    ],
)
def test_the_verifier_reads_the_public_half_of_the_key_that_signs_and_signs_nothing(
    record: Record, named: str, key: str, context: dict[str, Any]
) -> None:
    asks = Asks(build(record, signing_keys=[named]))
    policy = text(signing_key_statement(SCOPE))

    def allowed(role: str, action: str, of: str = key, **more: Any) -> bool:
        given = {"kms__CallerAccount": ACCOUNT, **context, **more}
        return asks.allows(role, f"kms:{action}", of, key_policy=policy, **given)

    assert {one for one in KEY_ACTIONS if allowed("kyverno", one)} == {
        "GetPublicKey",
        "DescribeKey",
    }
    for role in EXPECTED.keys() - {"kyverno"}:
        assert not [one for one in KEY_ACTIONS if allowed(role, one)], role
    # of other keys it asks nothing, and another account's role of that name is none of ours
    other = {"kms__ResourceAliases": ["alias/state"], "kms__CallerAccount": ACCOUNT}
    assert not asks.allows("kyverno", "kms:GetPublicKey", SCOPE.arn("kms", "key/state"), **other)
    assert not allowed("kyverno", "GetPublicKey", kms__CallerAccount="999999999999")


KEY_ACTIONS = (
    *("GetPublicKey", "DescribeKey", "Sign", "Verify", "Decrypt", "Encrypt", "CreateGrant"),
    *("GetKeyPolicy", "PutKeyPolicy", "ScheduleKeyDeletion", "DisableKey"),
)


def test_the_key_that_signs_opens_to_nobody_without_its_own_policy(record: Record) -> None:
    asks = Asks(build(record, signing_keys=[SIGNER]))
    other = replace(SCOPE, environment="prod")
    policy = text(signing_key_statement(other))
    context = {"kms__CallerAccount": ACCOUNT, "key_policy": policy}
    assert not asks.allows("kyverno", "kms:GetPublicKey", SIGNER, **context)


def test_where_no_key_signs_the_verifier_asks_none(asks: Asks) -> None:
    own = allowed_of(asks.made, "kyverno")
    assert not [one for one in own if "kms:GetPublicKey" in one["Action"]]


def test_what_the_docs_say_of_that_key_is_what_it_needs() -> None:
    page = (ROOT / "docs" / "first-deployment.md").read_text(encoding="utf-8")
    told = re.search(r"```json\n(\{\s*\"Sid\": \"FalajVerifies.*?)```", page, re.DOTALL)
    assert told is not None
    scope = Scope(environment="prod", account_id="432109876543", region=REGION)
    (wanted,) = statements(text(signing_key_statement(scope)))
    assert json.loads(told[1]) == wanted


def test_policies_and_trusts_fit_into_what_iam_takes(record: Record) -> None:
    made = build(record, team_key_arns=TEAM_KEYS)
    for role in iam_roles(made):
        size = sum(
            len("".join(policy.split()))
            for policy in policies(made, role.inputs["name"].removeprefix("falaj-dev-"))
        )
        assert 0 < size <= LARGEST_ROLE_POLICIES / 2, role.name
        assert len("".join(role.inputs["assumeRolePolicy"].split())) <= LARGEST_TRUST


def test_teams_with_too_long_a_role_are_named() -> None:
    (problem,) = problems_of_teams("staging", ["credit", "a" * 32, "b" * 50])

    assert problem.startswith("teams." + "b" * 50)
    assert "IAM allows 64" in problem


def test_all_that_is_wrong_with_keys_teams_and_pipelines_comes_in_one_list() -> None:
    wrong = {
        "account_id": ACCOUNT,
        "existing_cluster": {
            "name": "falaj-dev",
            "subnet_ids": {"me-central-1a": "subnet-0a1b2c3d4e5f60718"},
        },
        "node_pools": {},
        "keys": {"rotation_days": 1000},
        "secrets": {"rotation_days": 0},
        "identity": {"ci": [{"kind": "github", "repository": "bank/falaj"}]},
    }
    config = {
        "falaj:place": "aws",
        "falaj:aws": json.dumps(wrong),
        "falaj:teams": json.dumps({"tracking": {}}),
    }
    with pytest.raises(SettingsError) as caught:
        parse("dev", config)

    for path in (
        *("falaj:aws.keys.rotation_days", "falaj:aws.secrets.rotation_days"),
        *("falaj:aws.identity.ci.0: environment is missing", "falaj:teams.tracking"),
    ):
        assert any(problem.startswith(path) for problem in caught.value.problems), path


def test_a_short_deletion_window_is_named_where_data_is_kept() -> None:
    kept = {
        "account_id": ACCOUNT,
        "existing_cluster": {
            "name": "falaj-dev",
            "subnet_ids": {"me-central-1a": "subnet-0a1b2c3d4e5f60718"},
        },
        "node_pools": {},
        "keys": {"deletion_days": 7},
    }
    with pytest.raises(SettingsError, match=r"falaj:aws.*keys\.deletion_days: is 7") as caught:
        parse("dev", {"falaj:place": "aws", "falaj:aws": json.dumps(kept)})

    assert len(caught.value.problems) == 1
