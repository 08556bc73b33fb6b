"""Where data and models lie: URIs, and the Secrets that open them.

Types for the models; nothing here opens anything.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from retune.api.base import Model, Rule, checked
from retune.api.quantity import ObjectName

_CLIMBS = Rule(r"!self.matches(r'(^|/)\.\.(/|$)')", "take '..' out of the path; it must stay below its root")
_S3 = Rule(
    r"!self.startsWith('s3://') || self.matches(r'^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$')",
    "write s3://BUCKET/path, the bucket of 3 to 63 small letters, digits, dots and dashes",
)
_HF = Rule(
    r"!self.startsWith('hf://') || self.matches(r'^hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
    r"(@[A-Za-z0-9][A-Za-z0-9._-]*)?(/[^@]*)?$')",
    "write hf://ORG/NAME or hf://ORG/NAME@REVISION",
)
_PVC = Rule(
    r"!self.startsWith('pvc://') || self.matches(r'^pvc://[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/.*)?$')",
    "write pvc://CLAIM/path, with the name of a PersistentVolumeClaim in the job's namespace",
)

SourceUri = Annotated[
    str,
    Field(max_length=1024),
    checked(
        Rule("self.matches(r'^(s3|hf|pvc)://.')", "start the URI with s3://, hf:// or pvc://"), _S3, _HF, _PVC, _CLIMBS
    ),
]
"""Where something is read: `s3://bucket/path`, `hf://org/name@revision` or `pvc://claim/path`."""

StoreUri = Annotated[
    str,
    Field(max_length=1024),
    checked(
        Rule("self.matches(r'^(s3|pvc)://.')", "start the URI with s3:// or pvc://; artifacts are written there"),
        _S3,
        _PVC,
        _CLIMBS,
    ),
]
"""Where something is written: `s3://bucket/path` or `pvc://claim/path`."""

HttpUrl = Annotated[
    str,
    Field(max_length=1024),
    checked(
        Rule(r"self.matches(r'^https?://[^/\s?#]+')", "start the URL with http:// or https:// and a host"),
        Rule(
            r"!self.matches(r'(?i)^https?://([^/?#]*@)?(169\.254\.|\[fe[89ab][0-9a-f]:|metadata\.google)')",
            "link-local and metadata addresses are not reached; name a Service or a public host",
        ),
    ),
]
"""An address spoken to over HTTP."""


class SecretRef(Model):
    """A Secret of the job's own namespace."""

    name: ObjectName = Field(description="Name of a Secret in the job's namespace.")


class Source(Model):
    """Something to read, and the Secret that opens it."""

    uri: SourceUri = Field(description="Where it lies: s3://bucket/path, hf://org/name@revision or pvc://claim/path.")
    secret_ref: SecretRef | None = Field(
        None, description="Secret with the credentials; an s3:// URI without one uses that of artifacts."
    )


class Store(Model):
    """A place to write to, and the Secret that opens it."""

    uri: StoreUri = Field(description="Where artifacts go: s3://bucket/prefix or pvc://claim/path.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the credentials for the store.")
