"""Where an environment's resources are, and how they are called.

Names and ARNs are functions of environment, account and region, so that a policy can name a
resource that is made later, and a name that is too long is found before anything is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.aws.settings.storage import access_point_name


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One environment in one account and region."""

    environment: str
    account_id: str
    region: str
    boundary_arn: pulumi.Input[str] | None = None
    """The permissions boundary of every role of the environment, once it is made."""

    def name(self, noun: str) -> str:
        """The name of `noun`, unique in the account and region."""
        return f"falaj-{self.environment}-{noun}"

    def bucket(self, content: str) -> str:
        """The name of the bucket that holds `content`, unique in all of S3."""
        return f"{self.name(content)}-{self.account_id}"

    def bucket_arn(self, content: str) -> str:
        """The ARN of that bucket."""
        return f"arn:aws:s3:::{self.bucket(content)}"

    def access_point_arn(self, content: str, team: str) -> str:
        """The ARN of a team's access point to the bucket that holds `content`."""
        return self.arn("s3", f"accesspoint/{access_point_name(self.environment, content, team)}")

    def cluster(self, suffix: str = "") -> str:
        """The name of the cluster; `suffix` tells a second one from the first."""
        return f"falaj-{self.environment}" + (f"-{suffix}" if suffix else "")

    def role_arn(self, noun: str) -> str:
        """The ARN of the role `name(noun)`, whether it exists yet or not.

        A `noun` with a slash is the path of a role that AWS makes and names itself.
        """
        if "/" in noun:
            return f"arn:aws:iam::{self.account_id}:role/{noun}"
        return f"arn:aws:iam::{self.account_id}:role/{self.name(noun)}"

    def secret(self, noun: str) -> str:
        """The name of the secret `noun`, such as ``falaj-prod/second-site``."""
        return f"falaj-{self.environment}/{noun}"

    def secret_arn(self, noun: str) -> str:
        """The ARN of that secret, whose last six characters Secrets Manager chooses.

        With `noun` ``*`` it stands for every secret of the environment.
        """
        ending = "" if noun.endswith("*") else "-??????"
        return self.arn("secretsmanager", f"secret:{self.secret(noun)}{ending}")

    def policy_arn(self, noun: str) -> str:
        """The ARN of the customer-managed policy `name(noun)`."""
        return f"arn:aws:iam::{self.account_id}:policy/{self.name(noun)}"

    def arn(self, service: str, resource: str) -> str:
        """The ARN of `resource` of `service` in this account and region."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}:{resource}"

    def log_group(self, noun: str) -> str:
        """The name of the log group of `noun`."""
        return f"/falaj/{self.environment}/{noun}"

    def service(self, name: str) -> str:
        """The regional name of a service, as `kms:ViaService` has it."""
        return f"{name}.{self.region}.amazonaws.com"

    @property
    def registry(self) -> str:
        """The account's image registry in the region, as a host."""
        return f"{self.account_id}.dkr.ecr.{self.region}.amazonaws.com"

    def repository(self, path: str) -> str:
        """The name of the environment's image repository `path`."""
        return f"falaj-{self.environment}/{path}"

    def repository_arn(self, path: str) -> str:
        """The ARN of that repository; `path` may end in ``*``."""
        return self.arn("ecr", f"repository/{self.repository(path)}")
