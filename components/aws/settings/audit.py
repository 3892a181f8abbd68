"""The settings of what watches an environment: trail, recorder, detectors, alarms.

Most of it exists once in an account and region, and an organisation often runs it centrally.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.settings.provision import Provision
from components.section import Section

RetentionDays = Literal[365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]
"""The periods of at least a year that CloudWatch Logs offers (PutRetentionPolicy)."""
HttpsUrl = Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?(/\S*)?$")]


class TrailSettings(Provision):
    """CloudTrail. A trail that exists is alarmed on by those who run it."""

    retention_days: RetentionDays = 400
    """In CloudWatch Logs, where alarms read; the locked bucket keeps the record itself."""


class RecorderSettings(Provision):
    """AWS Config: one recorder an account and region."""

    service_linked_role_exists: bool = False
    """Whether the account has AWSServiceRoleForConfig already; making it twice is refused."""
    omit_rules: tuple[str, ...] = ()
    """Managed rules, such as ``EKS_SECRETS_ENCRYPTED``, that the region does not offer."""


class ThreatSettings(Provision):
    """GuardDuty: one detector an account and region."""

    runtime: bool = False
    """Whether it also takes what its agent sees on the nodes. Off by default: the agent needs the
    add-on `aws-guardduty-agent` and the endpoint `guardduty-data`, and where GuardDuty makes those
    itself they outlive the network that they are in."""


class PostureSettings(Provision):
    """Security Hub: one an account and region; it judges what AWS Config records."""

    standards: tuple[Literal["fsbp", "cis", "nist"], ...] = Field(("fsbp", "cis"), min_length=1)
    """AWS Foundational Security Best Practices 1.0.0, CIS AWS Foundations 3.0.0, NIST SP 800-53
    revision 5."""


class AlarmSettings(Section):
    """Whom alarms reach. E-mail is not offered: it leaves the country, unencrypted."""

    webhooks: tuple[HttpsUrl, ...] = ()
    """HTTPS addresses in the country that AWS can reach, such as that of the duty desk. Each must
    confirm the subscription once."""
    queue: bool = True
    """Whether alarms also wait in a queue, for two weeks: what is inside a closed network cannot be
    called from outside, but can ask."""


class AuditSettings(Section):
    """What watches an environment."""

    trail: TrailSettings = TrailSettings()
    recorder: RecorderSettings = RecorderSettings()
    threats: ThreatSettings = ThreatSettings()
    posture: PostureSettings = PostureSettings()
    access_analyzer: Provision = Provision()
    account_defaults: Provision = Provision()
    """What the account refuses whoever asks: public buckets, plain disks, the old metadata service.
    One environment an account may set it."""
    alarms: AlarmSettings = AlarmSettings()

    @model_validator(mode="after")
    def _fit(self) -> Self:
        problems = []
        if self.posture.own and self.recorder.mode == "off":
            problems.append(
                "posture.mode: is own, but Security Hub judges what AWS Config records; "
                "set recorder.mode to own or existing, or posture.mode to off"
            )
        known = self.posture.standards
        if len(set(known)) < len(known):
            problems.append(f"posture.standards: names one twice: {', '.join(known)}")
        if problems:
            raise ValueError("\n".join(problems))
        return self
