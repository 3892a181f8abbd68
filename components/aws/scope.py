"""Where an environment's resources are, and how they are called.

Names and ARNs are functions of environment, account and region, so that a policy can name a
resource that is made later, and a name that is too long is found before anything is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi


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

    def role_arn(self, noun: str) -> str:
        """The ARN of the role `name(noun)`, whether it exists yet or not."""
        return f"arn:aws:iam::{self.account_id}:role/{self.name(noun)}"

    def secret(self, noun: str) -> str:
        """The name of the secret `noun`, such as ``falaj-prod/second-site``."""
        return f"falaj-{self.environment}/{noun}"

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
