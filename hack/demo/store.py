"""The demo's S3 store, as seen from this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from hack.cluster import backend, infra
from hack.cluster.process import ClusterError
from hack.demo.settings import STORE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def connect() -> S3Client:
    """A client for the store, with the keys of the Secret that the FineTuneJob names."""
    keys = yaml.safe_load(STORE.read_text())["stringData"]
    return boto3.client(
        "s3",
        endpoint_url=infra.endpoint(backend.choose(), "s3"),
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name=keys["AWS_REGION"],
        config=Config(s3={"addressing_style": "path"}, connect_timeout=3, retries={"max_attempts": 2}),
    )


def holds(client: S3Client, bucket: str, key: str) -> bool:
    """Whether an object is there; a store that does not answer holds nothing."""
    try:
        client.head_object(Bucket=bucket, Key=key)
    except (ClientError, BotoCoreError):
        return False
    return True


def lines(uri: str) -> list[str]:
    """The lines of a text object.

    Raises:
        ClusterError: it is not there, or the store does not answer.
    """
    bucket, key = parts(uri)
    try:
        return connect().get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines()
    except (ClientError, BotoCoreError) as error:
        raise ClusterError(f"{uri} cannot be read: {error}") from error


def clear(uri: str) -> None:
    """Delete all objects below a folder."""
    client = connect()
    bucket, prefix = parts(uri.rstrip("/") + "/")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=item["Key"])


def parts(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// URI."""
    split = urlsplit(uri)
    return split.netloc, split.path.lstrip("/")
