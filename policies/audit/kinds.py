"""What the audit must know of a kind of thing: how AWS lists it, and what it is to Pulumi."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Entry = dict[str, Any]
"""What AWS answers of one thing, with the answers to further questions under `Ask.into`."""
Plain = tuple[str, Mapping[str, Any]]
"""A Pulumi type, and the inputs that would make the thing."""
Origin = Literal["", "aws", "service"]
"""Who made a thing by itself: AWS with the account, a service for something else, or neither."""

ACCOUNT = "$ACCOUNT"
"""Stands for the account's number in arguments and JMESPath expressions."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A further question about each thing, asked in its own region."""

    operation: str
    arguments: Mapping[str, str]
    """Name → JMESPath in the entry, or a text that begins with ``=``."""
    into: str
    """The name in the entry that the answer gets."""
    answer: str = "@"
    """JMESPath to what of the answer is kept."""
    none: tuple[str, ...] = ()
    """Error codes that mean: there is none."""
    needed: str = ""
    """JMESPath in the entry: the question is asked only where it leads to something true."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One row of the table."""

    type: str
    """Of Pulumi."""
    also: tuple[str, ...] = ()
    """Other types that Pulumi has for what the same operation lists."""
    service: str
    """As boto3 calls its client."""
    operation: str
    """Lists them; in pages where boto3 knows a paginator for it."""
    items: str
    """JMESPath in a page of the answer."""
    name: str
    """JMESPath in the entry: its id, or what people know it by."""
    arn: str
    """The ARN with ``{partition}``, ``{region}``, ``{account}``, and ``{name}``; or JMESPath in the
    entry where it begins with none of ``arn:``."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    worldwide: bool = False
    """Asked once an account, not in each region."""
    region: str = ""
    """JMESPath in the entry, of what is asked worldwide and yet is in a region."""
    locate: Ask | None = None
    """Asked where the entry lacks `region`; its answer, read by `region_said`, is it."""
    asks: tuple[Ask, ...] = ()
    plain: Callable[[Entry], Iterable[Plain]] = lambda _: ()
    """The thing itself, and settings of it that Pulumi has as resources of their own."""
    rules: tuple[str, ...] = ()
    """Those that can judge `plain`: all that they look at is in it."""
    origin: Callable[[Entry], Origin] = lambda _: ""
    actions: Mapping[str, str] = field(default_factory=dict)
    """Operation → IAM action, where it is not the service's prefix and the operation's name."""
    prefix: str = ""
    """Of IAM actions, where it is not the name of the client."""

    @property
    def types(self) -> tuple[str, ...]:
        """All that are listed by it."""
        return (self.type, *self.also)

    @property
    def label(self) -> str:
        """The kind for people: ``s3 Bucket``."""
        return f"{self.service} {self.type.rpartition(':')[2]}"

    def operations(self) -> list[str]:
        """All that is called for it."""
        located = [self.locate] if self.locate else []
        return [self.operation, *(ask.operation for ask in (*located, *self.asks))]

    def action(self, operation: str) -> str:
        """The IAM action that `operation` needs."""
        if operation in self.actions:
            return self.actions[operation]
        words = "".join(word.capitalize() for word in operation.split("_"))
        words = words.replace("Db", "DB") if self.service == "rds" else words
        return f"{self.prefix or self.service}:{words}"
