"""Rules, boundary, organisation and admission say the same of one request: all from one source."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from guard_cases import (
    IN_PACKS_ALONE,
    ON_PODS,
    PODS,
    RAILS,
    REGISTRY,
    AwsRow,
    global_row,
    pod,
    refusing,
    regional_rows,
)
from policy_decision import Request, condition_keys, statements, verdict
from rule_cases import outcome, resource
from typer.testing import CliRunner

from components.aws import boundary
from components.aws.boundary import BoundaryArgs, boundary_statements
from components.aws.policy_document import text
from components.aws.scope import Scope
from components.kubernetes.admission import AdmissionArgs, checks
from components.kubernetes.operator_table import PRIVILEGED
from policies.cli import InputError, app
from policies.common.configuration import Configured, configured
from policies.common.policy_document import parsed
from policies.declared import DeclarationError, allowed_accounts, allowed_regions, pod_rules
from policies.guards import organisation
from policies.guards.conditions import WITHOUT_TLS
from policies.guards.organisation import (
    LONGEST_BYTES,
    TooLongError,
    resource_control_policy,
    service_control_policy,
)
from policies.guards.pods import NOUNS, PodRules
from policies.guards.pods import checks as checks_of
from policies.guards.worldwide import GLOBAL_ACTIONS
from policies.hardening.pods import RULES as POD_RULES
from policies.packs import CONFIGURATIONS, RULES
from policies.residency.global_types import GLOBAL_TYPES
from stacks.settings import Settings, read_file

ACCOUNT, HOME, ELSEWHERE = "123456789012", "me-central-1", "eu-west-1"
ENVIRONMENTS = ("dev", "test", "staging", "prod")
SCOPE = Scope(environment="prod", account_id=ACCOUNT, region=HOME)
ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT}:role/administrator"
WORKLOAD = SCOPE.role_arn("training")


def configuration_of(environment: str, **changes: Any) -> list[Configured]:
    """The packs' rules as an environment sets them, with `changes` of some."""
    content = json.loads((CONFIGURATIONS / f"{environment}.json").read_text())
    named = {name.replace("_", "-"): one for name, one in changes.items()}
    return configured(RULES, content | named)


def boundary_of(regions: Iterable[str] = (HOME,)) -> str:
    args = BoundaryArgs(scope=SCOPE, allowed_regions=tuple(regions), keep=True)
    return text(*boundary_statements(args))


def refuses(policy: str, row: AwsRow, principal: str) -> bool:
    """Whether `policy` refuses the request of `row`; what it only does not allow, others may."""
    context = {"aws:RequestedRegion": row.region, **row.context}
    request = Request(action=row.action, resource="*", principal=principal, context=context)
    return verdict(policy, request) == "denied"


def disagreements(
    rows: Mapping[str, AwsRow], *, scp: str | None = None, limit: str | None = None, **rules: Any
) -> dict[str, set[str]]:
    """Row → the guards that say otherwise than its rule."""
    guards = {
        "organisation": (scp or service_control_policy([HOME]), ADMINISTRATOR),
        "boundary": (limit or boundary_of(), WORKLOAD),
    }
    found = {
        name: {
            guard
            for guard, (policy, principal) in guards.items()
            if refuses(policy, row, principal) is not row.refused_by_rules(**rules)
        }
        for name, row in rows.items()
    }
    return {name: guards for name, guards in found.items() if guards}


def each(names: Iterable[str], *guards: str) -> dict[str, set[str]]:
    """That `guards` disagree of all `names`."""
    return {name: set(guards) for name in names}


# --- regions --------------------------------------------------------------------------------------


def test_rules_boundary_and_organisation_keep_to_the_same_regions() -> None:
    rows = regional_rows()

    assert {row.refused_by_rules() for row in rows.values()} == {True, False}
    assert disagreements(rows) == {}
    both = [HOME, ELSEWHERE]
    scp, limit = service_control_policy(both), boundary_of(both)
    assert disagreements(rows, scp=scp, limit=limit, allowedRegions=both) == {}


def test_a_region_that_one_of_them_alone_knows_is_noticed() -> None:
    rows, both = regional_rows(), [HOME, ELSEWHERE]
    there = {name for name, row in rows.items() if row.region == ELSEWHERE}

    of_rules = disagreements(rows, allowedRegions=both)
    of_scp = disagreements(rows, scp=service_control_policy(both))
    of_boundary = disagreements(rows, limit=boundary_of(both))
    assert of_rules == each(there, "organisation", "boundary")
    assert of_scp == each(there, "organisation")
    assert of_boundary == each(there, "boundary")


# --- services in no region ------------------------------------------------------------------------

GLOBAL_ROWS = {kind: global_row(kind) for kind in sorted(GLOBAL_TYPES)}
OF_PEOPLE = {"aws:costexplorer/", "aws:cur/", "aws:billing/"}
"""What administrators look at in the console, and no program makes."""


def test_rules_boundary_and_organisation_let_the_same_services_in_no_region_through() -> None:
    found = disagreements(GLOBAL_ROWS)

    # IAM tells requests about names from others of the service by lists that would not end
    names = {kind for kind in found if kind.startswith("aws:route53/")}
    people = {kind for kind in found if kind.startswith(tuple(OF_PEOPLE))}
    assert {"aws:route53/healthCheck:HealthCheck", "aws:route53/queryLog:QueryLog"} <= names
    assert people
    # a boundary lets nobody out of itself, wherever he asks
    identities = {kind for kind in found if kind.startswith("aws:iam/")}
    at_home = [replace(GLOBAL_ROWS[kind], region=HOME) for kind in identities]
    assert all(refuses(boundary_of(), row, WORKLOAD) for row in at_home)
    assert found == {
        **each(names, "organisation", "boundary"),
        **each(people, "organisation"),
        **each(identities, "boundary"),
    }
    assert all(GLOBAL_ROWS[kind].refused_by_rules() for kind in names | people)


def test_a_service_that_one_of_them_alone_lets_through_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, edge = disagreements(GLOBAL_ROWS), "aws:cloudfront/distribution:Distribution"
    more = (*GLOBAL_ACTIONS, "cloudfront:*")

    of_rules = disagreements(GLOBAL_ROWS, allowedGlobalTypes=[edge])
    assert of_rules[edge] == {"organisation", "boundary"}
    assert edge not in known
    with monkeypatch.context() as patch:
        patch.setattr(organisation, "GLOBAL_ACTIONS", more)
        assert disagreements({edge: GLOBAL_ROWS[edge]}) == {edge: {"organisation"}}
    with monkeypatch.context() as patch:
        patch.setattr(boundary, "GLOBAL_ACTIONS", more)
        assert disagreements({edge: GLOBAL_ROWS[edge]}) == {edge: {"boundary"}}


def test_a_boundary_passes_the_rule_that_looks_for_its_pin() -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:policy/it"
    role = resource("aws:iam/role:Role", "one", {"permissionsBoundary": arn})

    def judged(policy: str) -> str:
        said = {"name": "it", "arn": arn, "policy": policy}
        made = resource("aws:iam/policy:Policy", "it", said)
        return outcome("iam-boundary-pins-region", made, role, boundaryNames=["it"])

    assert judged(boundary_of()) == "passed"
    assert judged(boundary_of([HOME, ELSEWHERE])) == "failed"
    assert judged(boundary_of().replace('"iam:*"', '"cloudfront:*"')) == "failed"


# --- guard rails ----------------------------------------------------------------------------------


def test_what_opens_an_account_or_blinds_it_is_refused_by_all() -> None:
    assert all(row.refused_by_rules() for row in RAILS.values())
    assert disagreements(RAILS) == {}


# --- who asks, and how ----------------------------------------------------------------------------


STRANGER = "arn:aws:iam::999999999999:role/stranger"
SIEM = "654321098765"


def bucket_policy() -> dict[str, Any]:
    """What every bucket of the platform refuses first."""
    arn = "arn:aws:s3:::models"
    statement = {
        "Sid": "DenyWithoutTls",
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": WITHOUT_TLS,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def asked(principal: str = WORKLOAD, **context: Any) -> Request:
    """An upload."""
    return Request(
        action="s3:PutObject",
        resource="arn:aws:s3:::models/one",
        principal=principal,
        context=condition_keys(**context),
    )


def rule_on(policy: Any) -> str:
    """What the rule on uploads says of a bucket with `policy`."""
    bucket = resource("aws:s3/bucket:Bucket", "one", {"bucket": "models"})
    said = resource(
        "aws:s3/bucketPolicy:BucketPolicy", "one", {"bucket": "models", "policy": policy}
    )
    return outcome("s3-bucket-policy-denies-plaintext", bucket, said)


def test_an_upload_without_tls_is_refused_by_bucket_and_organisation_alike() -> None:
    plain = asked(aws__SecureTransport="false", aws__PrincipalOrgID="o-exampleorgid")
    secure = asked(aws__PrincipalOrgID="o-exampleorgid")
    rcp = resource_control_policy("o-exampleorgid")

    assert rule_on(bucket_policy()) == "passed"
    for policy in (bucket_policy(), rcp):
        assert verdict(policy, plain) == "denied"
        assert verdict(policy, secure) != "denied"


def test_a_refusal_that_is_turned_round_is_noticed_by_the_rule() -> None:
    policy = bucket_policy()
    policy["Statement"][0]["Condition"] = {"Bool": {"aws:SecureTransport": "true"}}

    assert rule_on(policy) == "failed"
    assert verdict(policy, asked(aws__SecureTransport="false")) != "denied"


def test_strangers_are_let_in_by_their_account_alone() -> None:
    rcp = resource_control_policy("o-exampleorgid", [SIEM])
    siem = f"arn:aws:iam::{SIEM}:role/reader"

    assert verdict(rcp, asked(STRANGER)) == "denied"
    assert verdict(rcp, asked(STRANGER, aws__PrincipalOrgID="o-another000")) == "denied"
    assert verdict(rcp, asked(aws__PrincipalOrgID="o-exampleorgid")) != "denied"
    assert verdict(rcp, asked(siem)) != "denied"
    assert verdict(resource_control_policy("o-exampleorgid"), asked(siem)) == "denied"
    assert verdict(rcp, asked("logging.s3.amazonaws.com", aws__PrincipalIsAWSService="true")) != (
        "denied"
    )


def test_the_organisation_s_policies_are_what_its_service_takes() -> None:
    """An RCP refuses only, names everybody, and names services; an SCP names nobody."""
    for one in statements(resource_control_policy("o-exampleorgid")):
        assert (one["Effect"], one["Principal"]) == ("Deny", "*")
        assert "NotAction" not in one
        assert all(not action.startswith("*") for action in one["Action"])
    assert all("Principal" not in one for one in statements(service_control_policy([HOME])))
    for policy in (service_control_policy([HOME]), resource_control_policy("o-exampleorgid")):
        assert parsed(policy).is_known
    with pytest.raises(TooLongError, match=r"resource control policy has \d+ bytes"):
        resource_control_policy("o-exampleorgid", [f"{one:012}" for one in range(400)])


# --- pods -----------------------------------------------------------------------------------------


def test_the_table_of_pods_offends_against_each_rule_that_a_cluster_holds() -> None:
    """The API server answers the same table in `tests/cluster/test_tenancy.py`."""
    found = {name: refusing(pod(spoil), [REGISTRY]) for name, spoil in PODS.items()}

    assert found["as it should be"] == set()
    assert set().union(*found.values()) == set(ON_PODS)
    assert {rule.name for rule in POD_RULES} - set(ON_PODS) == set(IN_PACKS_ALONE)


def test_a_registry_that_one_of_them_alone_knows_is_noticed() -> None:
    more = {
        name
        for name, spoil in PODS.items()
        if refusing(pod(spoil), [REGISTRY]) != refusing(pod(spoil), [REGISTRY, "docker.io/"])
    }

    assert more == {"from another registry", "from another registry at the start"}


# --- what an environment declares -----------------------------------------------------------------


def settings_of(environment: str) -> Settings:
    settings = read_file(environment)
    assert settings.aws is not None
    return settings


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_settings_and_packs_of_an_environment_declare_the_same(environment: str) -> None:
    settings, rules = settings_of(environment), configuration_of(environment)
    assert settings.aws is not None
    scope = Scope(
        environment=environment, account_id=settings.aws.account_id, region=settings.aws.region
    )
    declared = pod_rules(rules, account=settings.aws.account_id)
    args = AdmissionArgs(
        settings=settings.admission, registry=scope.registry, privileged=PRIVILEGED
    )
    asked_of_pods = checks(args, [scope.registry])

    assert set(allowed_regions(rules)) == set(settings.residency.allowed_regions)
    for noun, check in checks_of(declared).items():
        if check.level == "deny":
            assert asked_of_pods[noun].holds == check.holds, noun
    everywhere = set(settings.admission.exempt_namespaces)
    assert set(asked_of_pods["no-privilege"].exempt) == {
        *everywhere,
        *declared.exempt["no-privilege"],
    }
    # a program that makes something there is judged all the same
    assert all(everywhere.issuperset(asked_of_pods[noun].exempt) for noun in ("images", "limits"))


def test_settings_that_drift_from_the_packs_are_noticed() -> None:
    wider = {
        "allowedRegions": [HOME, ELSEWHERE],
        "enforcementLevel": "mandatory",
    }
    one = configuration_of("prod", aws_resource_region_is_allowed=wider)
    with pytest.raises(DeclarationError, match="allowedRegions: rules say different things"):
        allowed_regions(one)
    everywhere = {
        rule.name.replace("-", "_"): wider
        for rule in RULES
        if "allowedRegions" in rule.parameters.model_fields
    }
    two = configuration_of("prod", **everywhere)
    assert set(allowed_regions(two)) != set(settings_of("prod").residency.allowed_regions)


def test_two_rules_behind_one_policy_exempt_the_same_namespaces() -> None:
    apart = configuration_of("prod", pod_does_not_share_host={"exemptNamespaces": ["agents"]})
    with pytest.raises(DeclarationError, match=r"exemptNamespaces: .* pod-does-not-share-host"):
        pod_rules(apart, account=ACCOUNT)


def test_what_is_advised_is_warned_of_and_what_is_off_nobody_asks() -> None:
    rules = configuration_of(
        "dev",
        container_sets_requests_and_limits="disabled",
        container_is_not_privileged="disabled",
        pod_does_not_share_host="disabled",
    )
    assert pod_rules(rules, account=ACCOUNT).levels == {"images": "deny", "digests": "warn"}


def test_without_a_registry_no_image_could_come_in() -> None:
    with pytest.raises(ValueError, match="registries: is empty"):
        checks_of(PodRules(registries=()))
    off = pod_rules(configuration_of("prod", image_comes_from_in_region_registry="disabled"))
    assert set(checks_of(off)) == {"digests", "limits", "no-privilege"}


def test_without_a_region_nobody_could_do_anything() -> None:
    off = {
        rule.name.replace("-", "_"): "disabled"
        for rule in RULES
        if "allowedRegions" in rule.parameters.model_fields
    }
    with pytest.raises(DeclarationError, match="every rule that has it is disabled"):
        allowed_regions(configuration_of("prod", **off))


# --- what is printed ------------------------------------------------------------------------------


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_printed_policy_is_the_one_that_the_stack_exports(environment: str) -> None:
    exported = service_control_policy(settings_of(environment).residency.allowed_regions)

    text = printed("scp", "-e", environment)
    assert text == f"{exported}\n"
    assert len(text.encode()) <= LONGEST_BYTES


def test_somebody_elses_roles_stand_instead_of_falajs() -> None:
    roles = {
        f"--{noun}": f"arn:aws:iam::*:role/{noun}"
        for noun in ("break-glass", "deployer", "remover")
    }
    said = printed("scp", "-e", "prod", *(word for pair in roles.items() for word in pair))

    assert "falaj" not in said
    assert all(f'"{arn}"' in said for arn in roles.values())


def test_the_accounts_that_rules_let_in_pass_the_organisation() -> None:
    said = printed("rcp", "-e", "prod", "--organisation", "o-exampleorgid")

    assert allowed_accounts(configuration_of("prod")) == (SIEM,)
    assert SIEM in said
    with pytest.raises(InputError, match="--organisation: is bank"):
        printed("rcp", "-e", "prod", "--organisation", "bank")


def test_the_printed_admission_policies_are_those_of_the_rules() -> None:
    said = json.loads(printed("admission", "-e", "dev", "--account", ACCOUNT, "--label", "team"))[
        "items"
    ]
    kinds = [one["kind"] for one in said]
    bound = {
        one["spec"]["policyName"]: one["spec"]["validationActions"][0]
        for one in said
        if one["kind"].endswith("Binding")
    }

    assert kinds.count("ValidatingAdmissionPolicy") == len(bound) == len(NOUNS)
    assert bound == {
        "falaj-images": "Deny",
        "falaj-digests": "Warn",
        "falaj-limits": "Warn",
        "falaj-no-privilege": "Deny",
        "falaj-labels": "Deny",
    }
    assert f"{ACCOUNT}.dkr.ecr.{HOME}.amazonaws.com/" in json.dumps(said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), r"stands for any account, .* say which by --account"),
        (("--account", "bank"), "--account: is bank; an account is a number of twelve digits"),
    ],
)
def test_a_cluster_s_registry_is_of_one_account(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        printed("admission", "-e", "prod", *arguments)
