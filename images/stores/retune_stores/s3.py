"""`s3://bucket/prefix`: Amazon's and every compatible store. The only module that knows boto3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from retune_stores.base import CHUNK, Entry, Place, sha256_lines
from retune_stores.errors import InputError, NotFoundError, StoreError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
WRONG_KEYS = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
# Beyond this a single PUT is refused; nothing a run publishes today comes near.
MAX_PUT = 5 << 30


class S3Store:
    """Objects of one bucket below one prefix."""

    def __init__(self, place: Place) -> None:
        """Nothing is asked of the store before the first call."""
        parts = urlsplit(place.uri)
        if not parts.netloc:
            raise InputError("ConfigInvalid", place.field, f"{place.uri!r} names no bucket; write s3://BUCKET/PATH")
        self._place = place
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")

    @property
    def uri(self) -> str:
        """The root, without a slash at its end."""
        return f"s3://{self._bucket}" + (f"/{self._prefix}" if self._prefix else "")

    @cached_property
    def _client(self) -> S3Client:
        import boto3
        from botocore.config import Config

        keys = self._place.credentials
        key, secret = keys.get("AWS_ACCESS_KEY_ID"), keys.get("AWS_SECRET_ACCESS_KEY")
        if bool(key) != bool(secret):
            there, absent = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")[:: 1 if key else -1]
            raise self._place.rejected(f"it has {there} but no {absent}")
        endpoint = keys.get("AWS_ENDPOINT_URL")
        # Compatible stores rarely have a host name for each bucket, and not all know the newer checksums.
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"max_attempts": 4, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if endpoint else {},
        )
        session = boto3.session.Session(
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=keys.get("AWS_SESSION_TOKEN"),
            region_name=keys.get("AWS_REGION"),
        )
        region = session.region_name or "us-east-1"
        try:
            return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
        except ValueError as error:
            # botocore's word for an endpoint that is no URL.
            raise self._place.rejected(f"{error}; AWS_ENDPOINT_URL must be a URL such as http://HOST:PORT") from None

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    def _answered(self, error: ClientError, doing: str, uri: str) -> Exception:
        """Our error for what the store answered."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        detail = f"the store answered {status} {code}".rstrip()
        place, writing = self._place, doing == "write"
        if code in WRONG_KEYS:
            return place.rejected(detail)
        if code in MISSING or status == 404:
            bucket = f"{detail}; create the bucket {self._bucket!r}"
            return place.not_writable(bucket) if writing else NotFoundError(uri, detail)
        if status in {401, 403}:
            return place.not_writable(f"{detail}; allow it to put objects there") if writing else place.rejected(detail)
        return StoreError(place.field, f"{uri}: {detail} to a {doing}")

    @contextmanager
    def _errors(self, doing: str, path: str) -> Iterator[None]:
        """Turn botocore's errors into ours. `doing` is read or write."""
        from botocore import exceptions

        place = self._place
        uri = f"{self.uri}/{path}" if path else self.uri
        try:
            yield
        except exceptions.ClientError as error:
            raise self._answered(error, doing, uri) from None
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise place.rejected(str(error).rstrip(".")) from None
        except exceptions.BotoCoreError as error:
            cure = f"check AWS_ENDPOINT_URL in {place.opened_by}"
            raise StoreError(place.field, f"{uri} could not be reached: {str(error).rstrip('.')}; {cure}") from None

    def entries(self, prefix: str = "") -> list[Entry]:
        """Every object whose path starts with `prefix`, from one listing."""
        root = f"{self._prefix}/" if self._prefix else ""
        found = []
        with self._errors("read", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=root + prefix)
            for page in pages:
                for item in page.get("Contents", []):
                    path = item["Key"].removeprefix(root)
                    # Some tools make an empty object for each "folder".
                    if path and not path.endswith("/"):
                        found.append(Entry(path, item["Size"], item["ETag"].strip('"')))
        return sorted(found)

    def identity(self) -> str:
        """sha256 over the sorted lines `path size etag`: no byte is downloaded."""
        return sha256_lines(f"{entry.path} {entry.size} {entry.tag}" for entry in self.entries())

    def read(self, path: str) -> bytes:
        """A small object, whole."""
        with self._errors("read", path):
            return self._client.get_object(Bucket=self._bucket, Key=self._key(path))["Body"].read()

    def download(self, path: str, target: Path) -> str:
        """Stream an object into `target` and return its sha256."""
        digest = hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._errors("read", path):
            body = self._client.get_object(Bucket=self._bucket, Key=self._key(path))["Body"]
            with target.open("wb") as file:
                for chunk in body.iter_chunks(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
        return digest.hexdigest()

    def put(self, path: str, content: bytes | Path, *, if_absent: bool = False) -> bool:
        """Write an object; with `if_absent` by `If-None-Match: *`, which the store itself decides."""
        from botocore.exceptions import ClientError

        if isinstance(content, Path) and content.stat().st_size > MAX_PUT:
            raise self._place.not_writable(f"{path} is larger than the 5 GiB that one PUT may carry")
        with self._errors("write", path):
            try:
                self._put(path, content, if_absent=if_absent)
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                # 409: two conditional writes at the same moment; the other one has it.
                if if_absent and status in {409, 412}:
                    return False
                raise
        return True

    def _put(self, path: str, content: bytes | Path, *, if_absent: bool) -> None:
        if isinstance(content, Path):
            with content.open("rb") as file:
                self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=file)
        elif if_absent:
            self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=content, IfNoneMatch="*")
        else:
            self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=content)

    def delete(self, paths: Iterable[str]) -> None:
        """One by one: not every store knows the bulk call, and there are few."""
        for path in paths:
            with self._errors("write", path):
                self._client.delete_object(Bucket=self._bucket, Key=self._key(path))
