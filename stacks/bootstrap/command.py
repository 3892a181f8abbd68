"""`make bootstrap ENV=<environment>`: the ground of an environment, made or brought up to date.

Where there is a runner it is given a bundle of the present commit, so that a run of this command is
also how another release of Falaj reaches it. `BUNDLE=<file>` gives it one that is there already,
`BUNDLE=none` none.

The first time there is no bucket for any state yet: the bootstrap's own state begins on this
machine and moves into the bucket as soon as that is there. Each step looks at what exists, so that
a run that was cut short is simply run again, from this machine or, once it has moved, from any.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.aws.foundation import backend_url, secrets_provider
from components.aws.key_use import DEPLOYERS
from components.aws.scope import Scope
from components.aws.settings.identity import problems_of_bootstrap
from stacks import environment as clone
from stacks.bootstrap import BUNDLE
from stacks.bundle import BundleError
from stacks.bundle.archive import read as read_manifest
from stacks.bundle.command import target_of
from stacks.bundle.make import PLUGINS, Wanted, make
from stacks.runner import session
from stacks.settings import CONFIG_DIRECTORY, NAMESPACE, Settings, SettingsError, parse

_HERE = Path(__file__).parent
_PACK = clone.ROOT / "policies" / "residency"
_LEVELS = clone.ROOT / "stacks" / "bootstrap" / "policies.json"
"""The state is read from outside the network: by who begins, and by jobs that plan. Role and key
hold it, so that what the pack says of its network is told and does not stop."""
PASSPHRASE = "passphrase"  # noqa: S105 - the name of a provider
"""The secrets provider that needs nothing but this machine."""


class BootstrapError(Exception):
    """The ground was not made; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Where a stack's state is, and what encrypts its secrets."""

    url: str
    secrets_provider: str


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """One environment's bootstrap stack, with the two places where its state may be."""

    settings: Settings
    first: Backend
    """On this machine, until there is a bucket."""
    last: Backend
    bucket_exists: Callable[[], bool]
    variables: Mapping[str, str]
    directory: Path
    """Of the Pulumi project, prepared by `project`."""

    def run(self) -> dict[str, Any]:
        """Makes everything and gives the outputs. Raises `BootstrapError`."""
        backend = self.last if self.bucket_exists() and self._is_in(self.last) else self.first
        self._select(backend)
        pack = ("--policy-pack", str(_PACK), "--policy-pack-config", str(_LEVELS))
        self._pulumi(backend, "up", "--yes", "--skip-preview", "--suppress-outputs", *pack)
        if backend is self.first:
            if not self.bucket_exists():
                raise BootstrapError(
                    "the bucket of the state was made and does not answer yet: run this again"
                )
            self._move()
            backend = self.last
        outputs: dict[str, Any] = json.loads(
            self._pulumi(backend, "stack", "output", "--json", "--show-secrets", quiet=True)
        )
        return outputs

    def _is_in(self, backend: Backend) -> bool:
        """Whether a backend has the stack with something in it: a move may have been cut short."""
        listed = json.loads(self._pulumi(backend, "stack", "ls", "--json", quiet=True))
        return any(
            stack["name"].rpartition("/")[2] == self.settings.environment
            and stack.get("resourceCount")
            for stack in listed
        )

    def _move(self) -> None:
        """Carries the state from this machine into the bucket; the local copy goes last."""
        with tempfile.TemporaryDirectory(prefix="falaj-bootstrap-") as folder:
            file = str(Path(folder) / "state.json")
            self._pulumi(self.first, "stack", "export", "--show-secrets", "--file", file)
            self._select(self.last)
            self._pulumi(self.last, "stack", "import", "--file", file)
        self._pulumi(self.first, "stack", "rm", "--force", "--yes", "--preserve-config")

    def _select(self, backend: Backend) -> None:
        """The stack in a backend, made where it is missing, with the secrets provider of that."""
        file = self.directory / "config" / f"Pulumi.{self.settings.environment}.yaml"
        content = plain_settings(file)
        if backend.secrets_provider != PASSPHRASE:
            content["secretsprovider"] = backend.secrets_provider
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        provider = ("--secrets-provider", backend.secrets_provider)
        self._pulumi(backend, "stack", "select", "--create", *provider)

    def _pulumi(self, backend: Backend, *arguments: str, quiet: bool = False) -> str:
        """What `pulumi` prints on the stack in `backend`; shown as it runs unless `quiet`."""
        name = [] if arguments[:2] == ("stack", "ls") else ["--stack", self.settings.environment]
        done = subprocess.run(
            ["pulumi", "--non-interactive", *arguments, *name],
            cwd=self.directory,
            env={**self.variables, "PULUMI_BACKEND_URL": backend.url},
            stdout=subprocess.PIPE if quiet else sys.stderr,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BootstrapError(f"pulumi {arguments[0]} failed; run the command again once mended")
        return done.stdout or ""


def plain_settings(file: Path) -> dict[str, Any]:
    """The settings of a stack file, without secrets and without what encrypts them."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return {
        "config": {
            key: value
            for key, value in content.get("config", {}).items()
            if not (isinstance(value, dict) and "secure" in value)
        }
    }


def read(environment: str, directory: Path = CONFIG_DIRECTORY) -> Settings:
    """The settings of `environment`. Raises `SettingsError` and `BootstrapError`."""
    file = directory / f"Pulumi.{environment}.yaml"
    if not file.is_file():
        known = sorted(path.suffixes[0][1:] for path in directory.glob("Pulumi.*.yaml"))
        raise BootstrapError(
            f"there is no environment {environment or '(none named)'}: "
            f"make bootstrap ENV=<{'|'.join(known)}>"
        )
    config = plain_settings(file)["config"]
    settings = parse(
        environment,
        {key: one if isinstance(one, str) else json.dumps(one) for key, one in config.items()},
    )
    if settings.aws is None:
        raise BootstrapError(f"{environment} is not on AWS: it needs no bootstrap")
    problems = problems_of_bootstrap(settings.aws.identity)
    if problems:
        raise SettingsError(environment, [f"{NAMESPACE}:aws.{problem}" for problem in problems])
    return settings


@contextlib.contextmanager
def project(environment: str, configuration: Path = CONFIG_DIRECTORY) -> Iterator[Path]:
    """The bootstrap's Pulumi project with the settings of `environment`, until the context ends.

    A copy, because a stack file holds what encrypts the secrets of one stack alone.
    """
    with tempfile.TemporaryDirectory(prefix="falaj-bootstrap-") as folder:
        directory = Path(folder).resolve()
        (directory / "bootstrap").symlink_to(_HERE)
        (directory / "Pulumi.yaml").write_text(
            (_HERE / "Pulumi.yaml").read_text(encoding="utf-8"), encoding="utf-8"
        )
        (directory / "config").mkdir()
        name = f"Pulumi.{environment}.yaml"
        (directory / "config" / name).write_text(
            yaml.safe_dump(plain_settings(configuration / name)), encoding="utf-8"
        )
        yield directory


def bundle_for(
    settings: Settings, told: str, made: Callable[[Wanted], Path] | None = None
) -> Path | None:
    """The bundle that the runner is given: the file `told`, or one of the present commit.

    `None` where there is no runner, and where `told` is ``none``. Raises `BundleError`.
    """
    assert settings.aws is not None, "checked by `read`"  # noqa: S101
    if settings.aws.runner is None or told == "none":
        return None
    target = target_of(settings)
    if not told:
        return (made or _made)(Wanted(target=target)).resolve()
    file = Path(told).resolve()
    held = read_manifest(file)
    if held["machine"] != target.machine:
        raise BundleError(
            f"{file} is for {held['machine']}, and the runner, a "
            f"{settings.aws.runner.instance_type}, is {target.machine}: "
            f"falaj bundle -s {settings.environment}"
        )
    if not any(part.startswith(PLUGINS) for part in held["files"]):
        raise BundleError(f"{file} was made without plugins: nothing can be deployed with it")
    return file


def _made(wanted: Wanted) -> Path:
    return make(wanted, lambda line: print(line, file=sys.stderr)).file  # noqa: T201 progress


def report(settings: Settings, outputs: Mapping[str, Any]) -> str:
    """What a person does next."""
    environment, provider = settings.environment, outputs["secrets_provider"]
    lines = [
        f"The ground of {environment} is made. Its state and the bootstrap's own are in",
        f"  backend:           {outputs['backend_url']}",
        f"  secrets provider:  {provider}",
    ]
    create = f"pulumi stack select --create {environment} --secrets-provider '{provider}'"
    if "runner" in outputs:
        lines += [
            "Deploy from the runner, which has the backend and, some minutes from now, Falaj:",
            f"  {session(scope_of(settings), outputs['runner']['instance_id'])}",
        ]
    else:
        lines += ["Deploy from here:", f"  export PULUMI_BACKEND_URL='{outputs['backend_url']}'"]
    return "\n".join([*lines, f"  {create}", f"  pulumi up -s {environment}"])


def scope_of(settings: Settings) -> Scope:
    """The names of an environment on AWS."""
    assert settings.aws is not None, "checked by `read`"  # noqa: S101
    return Scope(
        environment=settings.environment,
        account_id=settings.aws.account_id,
        region=settings.aws.region,
    )


def require_one_of(caller: str, allowed: Iterable[str]) -> None:
    """Raises `BootstrapError` unless the key of the state will let `caller` in.

    `caller` is an ARN as STS has it, which leaves the path of a role out; `allowed` are ARNs of
    roles. KMS would say so only once it is asked for the key.
    """
    allowed = tuple(allowed)
    account, _, taken = caller.partition("::")[2].partition(":")
    role = taken.split("/")[1] if taken.startswith("assumed-role/") else None
    names = {(one.split(":")[4], one.rpartition("/")[2]) for one in allowed}
    if (account, role) in names or (taken == "root" and account in dict(names)):
        return
    raise BootstrapError(
        f"you are {caller}, whom the key of the state would refuse; it lets in\n  "
        + "\n  ".join(allowed)
        + "\nTake one of these roles, or add yours to falaj:aws.identity.administrators"
    )


def _caller(settings: Settings) -> str:
    """Who runs this, as STS has it. Raises `BootstrapError` without credentials."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    assert settings.aws is not None, "checked by `read`"  # noqa: S101
    try:
        # the global endpoint's answers are not valid in regions that must be opted into
        client = boto3.client(
            "sts",
            region_name=settings.aws.region,
            endpoint_url=f"https://sts.{settings.aws.region}.amazonaws.com",
        )
        return str(client.get_caller_identity()["Arn"])
    except (BotoCoreError, ClientError) as error:
        raise BootstrapError(f"no credentials of {settings.aws.account_id}: {error}") from None


def _bucket_exists(settings: Settings, bucket: str) -> bool:
    """Whether the account has the bucket. Raises `BootstrapError` when it may not be asked."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    assert settings.aws is not None, "checked by `read`"  # noqa: S101
    client = boto3.client("s3", region_name=settings.aws.region)
    try:
        client.head_bucket(Bucket=bucket, ExpectedBucketOwner=settings.aws.account_id)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise BootstrapError(
            f"account {settings.aws.account_id} does not say whether it has {bucket}: {error}"
        ) from None
    except BotoCoreError as error:
        raise BootstrapError(f"no credentials of {settings.aws.account_id}: {error}") from None
    return True


def main(arguments: list[str]) -> None:
    """Makes the ground of the environment named, and prints what comes next."""
    try:
        environment, told = (*arguments, "", "")[:2]
        settings = read(environment)
        assert settings.aws is not None, "checked by `read`"  # noqa: S101
        scope = scope_of(settings)
        require_one_of(
            _caller(settings),
            (
                *settings.aws.identity.administrators,
                *(scope.role_arn(role) for role in DEPLOYERS),
            ),
        )
        # made before anything else: it takes minutes, and may lack something
        bundle = bundle_for(settings, told)
        with project(settings.environment) as directory:
            variables = clone.variables() | ({BUNDLE: str(bundle)} if bundle else {})
            outputs = Bootstrap(
                settings=settings,
                first=Backend(url=variables["PULUMI_BACKEND_URL"], secrets_provider=PASSPHRASE),
                last=Backend(url=backend_url(scope), secrets_provider=secrets_provider(scope)),
                bucket_exists=lambda: _bucket_exists(settings, scope.bucket("state")),
                variables=variables,
                directory=directory,
            ).run()
    except (BootstrapError, BundleError, SettingsError) as error:
        sys.exit(str(error))
    print(report(settings, outputs))  # noqa: T201 the command's result


if __name__ == "__main__":
    main(sys.argv[1:])
