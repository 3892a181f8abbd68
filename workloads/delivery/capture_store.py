"""Where captured predictions lie: a folder of the machine, or one of a bucket.

A name is `<date>/<file>`, and what is put there is whole or not there at all. Whoever puts also
deletes the days that are over.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from workloads.delivery import files
from workloads.delivery.errors import DeliveryError

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SECONDS = 10


class StoreError(DeliveryError):
    """The store did not take a file; it may later. The message holds nothing of the file."""


class Store(Protocol):
    """Takes files; both methods raise `StoreError`."""

    def put(self, name: str, content: bytes) -> None:
        """Puts a file there; again is the same as once."""

    def prune(self, first: date) -> None:
        """Deletes every day before `first`."""


class Folder:
    """A folder for the owner alone."""

    def __init__(self, root: Path) -> None:
        """`root` need not exist."""
        self.root = root

    def put(self, name: str, content: bytes) -> None:
        """See `Store`."""
        try:
            files.write_bytes(self.root / name, content)
        except OSError as error:
            raise StoreError(f"{self.root} takes no file: {error.strerror}") from error

    def prune(self, first: date) -> None:
        """See `Store`."""
        try:
            days = [path for path in self.root.iterdir() if _is_before(path.name, first)]
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{self.root} cannot be listed: {error.strerror}") from error
        for day in days:
            # the other servers of the workload delete the same
            shutil.rmtree(day, ignore_errors=True)


class Bucket:
    """A folder of an S3 bucket, reached as whoever the pod is."""

    def __init__(self, bucket: str, prefix: str, encryption_key: str | None = None) -> None:
        """`prefix` ends with a slash; `encryption_key` is the ARN of the key that objects are to be
        under, where the bucket asks for it to be named.
        """
        self.bucket, self.prefix = bucket, prefix
        self._under: dict[str, str] = {}
        if encryption_key:
            self._under = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": encryption_key}

    def put(self, name: str, content: bytes) -> None:
        """See `Store`."""
        self._ask("put_object", Key=f"{self.prefix}{name}", Body=content, **self._under)

    def prune(self, first: date) -> None:
        """See `Store`. In a bucket with versions the old ones go when its rules say so."""
        for prefix in [*self._days(first)]:
            for page in self._pages(Prefix=prefix):
                for found in page.get("Contents", ()):
                    self._ask("delete_object", Key=found["Key"])

    def _days(self, first: date) -> Iterator[str]:
        for page in self._pages(Prefix=self.prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                prefix = str(found["Prefix"])
                if _is_before(prefix.removeprefix(self.prefix).rstrip("/"), first):
                    yield prefix

    def _pages(self, **asked: Any) -> Iterator[dict[str, Any]]:
        more: dict[str, Any] = {}
        while True:
            page = self._ask("list_objects_v2", **asked, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _ask(self, action: str, **asked: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = getattr(self._client, action)(Bucket=self.bucket, **asked)
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"s3://{self.bucket}/{self.prefix}: {error}") from error
        return answer

    @cached_property
    def _client(self) -> Any:
        """Made when first asked: its import takes a while, and so does finding who the pod is."""
        import botocore.session
        from botocore.config import Config

        return botocore.session.get_session().create_client(
            "s3",
            # unlike other clients of AWS, this one does not read the variable
            region_name=os.environ.get("AWS_REGION"),
            config=Config(
                connect_timeout=_SECONDS,
                read_timeout=_SECONDS,
                retries={"total_max_attempts": 2, "mode": "standard"},
            ),
        )


def store_at(uri: str, encryption_key: str | None = None) -> Store:
    """The store at `file:///…` or `s3://bucket/…`. Raises `DeliveryError` for another address."""
    parts = urlsplit(uri)
    path = unquote(parts.path).strip("/")
    if parts.scheme == "file" and not parts.netloc and path:
        return Folder(Path(f"/{path}"))
    if parts.scheme == "s3" and parts.netloc:
        return Bucket(parts.netloc, f"{path}/" if path else "", encryption_key)
    raise DeliveryError(f"{uri!r} is no place for captured predictions: file:///… or s3://bucket/…")


def _is_before(name: str, first: date) -> bool:
    return _DAY.fullmatch(name) is not None and name < first.isoformat()
