"""Asks AWS what an account holds, in every region at once; what does not answer is a `Gap`.

Nothing is passed over: a region or service that refuses, is throttled for too long or cannot be
reached leaves a gap with its reason, and what else there is goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from policies.audit.kinds import ACCOUNT, Ask, Entry, Kind, Origin, Plain
from policies.audit.table import KINDS, TAGGED
from policies.common.arns import arn_of

WORLDWIDE = "worldwide"
"""In place of a region, of what is in none."""
_AT_ONCE = 8
"""Regions. AWS counts requests by region and service, so more of them throttle nothing."""
_RENAMED = {"": "us-east-1", "EU": "eu-west-1"}
"""What S3 answers where a bucket is from before regions had names."""

Clients = Callable[[str, str], Any]
"""Service and region → its client."""


class AuditError(Exception):
    """The account cannot be looked at."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What could not be listed."""

    region: str
    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A thing that is there."""

    kind: Kind
    region: str
    name: str
    arn: str
    origin: Origin
    plain: Sequence[Plain] = ()


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What an account said."""

    account: str
    enabled: Sequence[str] = ()
    disabled: Sequence[str] = ()
    """Regions in which nothing can be asked."""
    found: list[Found] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    listed: set[tuple[str, str]] = field(default_factory=set)
    """Region and Pulumi type of what was listed to its end."""


def clients() -> Clients:
    """Of the credentials that boto3 finds. Raises `AuditError`."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError as error:
        raise AuditError("the audit needs boto3: pip install 'falaj-policies[aws,cli]'") from error
    # adaptive: slows down by itself where AWS throttles
    config = Config(
        retries={"mode": "adaptive", "max_attempts": 6}, connect_timeout=5, read_timeout=60
    )
    try:
        session = boto3.Session()
    except BotoCoreError as error:
        raise AuditError(_reason(error)) from error
    made: dict[tuple[str, str], Any] = {}
    # a client serves many threads; making one does not
    lock = threading.Lock()

    def client(service: str, region: str) -> Any:
        with lock:
            if (service, region) not in made:
                new = cast("Callable[..., Any]", session.client)
                made[service, region] = new(service, region_name=region, config=config)
            return made[service, region]

    return client


def look(client: Clients, home: str, tell: Callable[[str], None]) -> Listing:
    """Lists the account, beginning in the region `home`; `tell` hears how far it is.

    Raises `AuditError` where not even the account and its regions can be asked for.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        caller = client("sts", home).get_caller_identity()
        answer = client("ec2", home).describe_regions(AllRegions=True)["Regions"]
    except (BotoCoreError, ClientError) as error:
        raise AuditError(f"the account does not say which regions it has: {_reason(error)}") from (
            error
        )
    disabled = sorted(one["RegionName"] for one in answer if one["OptInStatus"] == "not-opted-in")
    enabled = sorted({one["RegionName"] for one in answer} - set(disabled))
    arn = arn_of(caller["Arn"])
    listing = Listing(account=caller["Account"], enabled=enabled, disabled=disabled)
    look_at = _Region(client, home, caller["Account"], arn.partition if arn else "aws")
    places = [WORLDWIDE, *enabled]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        asked = {pool.submit(look_at, place): place for place in places}
        try:
            for number, one in enumerate(as_completed(asked), 1):
                part = one.result()
                listing.found.extend(part.found)
                listing.gaps.extend(part.gaps)
                listing.listed.update(part.listed)
                tell(
                    f"{asked[one]:<16} {len(part.found)} found, {len(part.gaps)} not listed"
                    f" ({number} of {len(places)})"
                )
        finally:
            pool.shutdown(cancel_futures=True)
    return _merged(listing)


def _merged(listing: Listing) -> Listing:
    """Takes away what the general listing said of things that their own listing has."""
    known = {one.arn for one in listing.found if one.kind is not TAGGED}
    kept = (one for one in listing.found if one.kind is not TAGGED or one.arn not in known)
    listing.found[:] = sorted(kept, key=lambda one: (one.region, one.kind.label, one.arn))
    listing.gaps.sort(key=lambda gap: (gap.region, gap.what))
    return listing


@dataclass(frozen=True)
class _Region:
    """Lists one region, or what is asked for worldwide."""

    client: Clients
    home: str
    account: str
    partition: str

    def __call__(self, place: str) -> Listing:
        part = Listing(account=self.account)
        kinds = [one for one in KINDS if one.worldwide == (place == WORLDWIDE)]
        for kind in kinds if place == WORLDWIDE else (*kinds, TAGGED):
            self._list(kind, place, part)
        return part

    def _list(self, kind: Kind, place: str, part: Listing) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        at = self.home if place == WORLDWIDE else place
        label = "tagged resources" if kind is TAGGED else kind.label
        try:
            client = self.client(kind.service, at)
            for entry in _entries(client, kind, self.account):
                part.found.append(self._found(kind, place, entry, client, part))
            part.listed.update((place, type_) for type_ in kind.types)
        except (BotoCoreError, ClientError) as error:
            if not _not_offered(kind.service, at, error):
                part.gaps.append(Gap(region=place, what=label, reason=_reason(error)))

    def _found(self, kind: Kind, place: str, entry: Entry, client: Any, part: Listing) -> Found:
        from botocore.exceptions import BotoCoreError, ClientError

        name, region, plain, origin = str(_search(kind.name, entry)), place, (), kind.origin(entry)
        made: Iterable[Plain] = plain
        try:
            if kind.region:
                region = self._located(kind, entry, client)
            for ask in kind.asks:
                at = client if region == place else self.client(kind.service, region)
                entry[ask.into] = _asked(at, ask, entry)
            made, origin = tuple(kind.plain(entry)), kind.origin(entry)
        except (BotoCoreError, ClientError) as error:
            # it is there all the same
            what = f"what {kind.label} {name} is like"
            part.gaps.append(Gap(region=region, what=what, reason=_reason(error)))
        names = {"region": region, "name": name, "last": name.rpartition("/")[2]}
        arn = (
            kind.arn.format(partition=self.partition, account=self.account, **names)
            if kind.arn.startswith("arn:")
            else str(_search(kind.arn, entry))
        )
        if kind is TAGGED and (said := arn_of(arn)) is not None:
            # what is in no region is told in one that AWS chose
            name, region = said.resource, said.region or WORLDWIDE
        return Found(kind=kind, region=region, name=name, arn=arn, origin=origin, plain=tuple(made))

    def _located(self, kind: Kind, entry: Entry, client: Any) -> str:
        region = _search(kind.region, entry)
        if region is None and kind.locate is not None:
            region = _asked(client, kind.locate, entry) or ""
        return _RENAMED.get(str(region), str(region))


def _entries(client: Any, kind: Kind, account: str) -> Iterator[Entry]:
    arguments = {
        name: [account if one == ACCOUNT else one for one in value]
        if isinstance(value, list)
        else value
        for name, value in kind.arguments.items()
    }
    pages: Iterable[Mapping[str, Any]]
    if client.can_paginate(kind.operation):
        pages = client.get_paginator(kind.operation).paginate(**arguments)
    else:
        pages = [getattr(client, kind.operation)(**arguments)]
    items = kind.items.replace(ACCOUNT, account)
    for page in pages:
        yield from (dict(entry) for entry in _search(items, page) or ())


def _asked(client: Any, ask: Ask, entry: Entry) -> Any:
    from botocore.exceptions import ClientError

    if ask.needed and not _search(ask.needed, entry):
        return None
    arguments = {
        name: value[1:] if value.startswith("=") else _search(value, entry)
        for name, value in ask.arguments.items()
    }
    try:
        return _search(ask.answer, getattr(client, ask.operation)(**arguments))
    except ClientError as error:
        if error.response["Error"]["Code"] in ask.none:
            return None
        raise


def _search(path: str, value: Any) -> Any:
    import jmespath  # type: ignore[import-untyped]

    return jmespath.search(path, value)


# --- what went wrong ------------------------------------------------------------------------------

_REFUSED = ("AccessDenied", "Unauthorized", "AuthorizationError", "Forbidden")
_EXPIRED = ("ExpiredToken", "RequestExpired")
_UNKNOWN_HERE = ("AuthFailure", "InvalidClientTokenId", "UnrecognizedClient", "OptInRequired")
_THROTTLED = ("Throttl", "TooManyRequests", "RequestLimitExceeded", "SlowDown", "LimitExceeded")


def _reason(error: Exception) -> str:
    """Why AWS did not answer, for people."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        said = error.response.get("Error", {})
        code = said.get("Code", "")
        told = f"{code}: {said.get('Message', '')}"
        for codes, meaning in (
            (_REFUSED, "refused; `falaj policy audit --policy` prints what it needs"),
            (_EXPIRED, "the credentials have expired; sign in again"),
            (_UNKNOWN_HERE, "the credentials are not accepted, or the region is not enabled yet"),
            (_THROTTLED, "throttled, after several attempts; run it again later"),
        ):
            if any(one in code for one in codes):
                return f"{meaning} ({told})"
        return told
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return f"there are no credentials: {error}"
    if isinstance(
        error,
        exceptions.SSOError | exceptions.TokenRetrievalError | exceptions.CredentialRetrievalError,
    ):
        return f"the credentials cannot be had; sign in again ({error})"
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return f"no network reaches it ({error})"
    return f"{type(error).__name__}: {error}"


def _not_offered(service: str, region: str, error: Exception) -> bool:
    """Whether there is no such service in the region, by what botocore knows and by the name."""
    from botocore.exceptions import EndpointConnectionError

    known = _regions_of(service) if isinstance(error, EndpointConnectionError) else ()
    return bool(known) and region not in known


@cache
def _regions_of(service: str) -> Sequence[str]:
    from botocore.session import get_session

    return tuple(get_session().get_available_regions(service))
