"""What the tap is told by its environment, and its own limits, in one place."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SettingsError(Exception):
    """A variable that is missing or wrong; the text names it."""


@dataclass(frozen=True)
class Settings:
    """One tap's identity, its places, and its limits (times in seconds, sizes in bytes)."""

    namespace: str
    job: str
    job_uid: str
    model: str
    pod: str
    pod_uid: str
    arms_key: bytes
    arms_file: Path
    upstream: str
    models: Path
    endpoint_key: str | None = field(default=None, repr=False)
    # In mode Deployment: the one arm that this pod is ("stable" or "canary"), and what its server serves.
    arm: str = ""
    serves: str = "base"
    digest: str = ""
    # The taps of the other pods: a name that resolves to all of them, or several, with commas; a port after a colon.
    peers: str = ""

    user_host: str = "0.0.0.0"  # noqa: S104 - a pod's port is for its Service
    user_port: int = 8000
    cluster_port: int = 9090
    most_body: int = 16 * 1024 * 1024
    most_answer: int = 64 * 1024 * 1024
    # A client that begins a request and does not go on.
    body_time: float = 60.0
    connect_time: float = 5.0
    # Until a candidate's first event of a stream, or its whole answer; then stable is asked.
    candidate_first_time: float = 30.0
    candidate_whole_time: float = 120.0
    stable_time: float = 600.0
    shadow_time: float = 120.0
    drain_time: float = 25.0
    # An endpoint on this machine could be the model server's own, unguarded port; tests have theirs there.
    endpoint_on_loopback: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read them.

        Raises:
            SettingsError: one is missing or wrong.
        """

        def need(name: str) -> str:
            value = environment.get(name, "")
            if not value:
                raise SettingsError(f"{name} is not set")
            return value

        try:
            key = base64.b64decode(need("RETUNE_ARMS_KEY"), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != 32:
            raise SettingsError("RETUNE_ARMS_KEY is not an Ed25519 public key: 32 bytes, base64")
        arm = environment.get("RETUNE_ARM", "")
        if arm not in {"", "stable", "canary"}:
            raise SettingsError("RETUNE_ARM is neither stable nor canary")
        return cls(
            namespace=need("RETUNE_NAMESPACE"),
            job=need("RETUNE_JOB"),
            job_uid=need("RETUNE_JOB_UID"),
            model=need("RETUNE_MODEL"),
            pod=need("RETUNE_POD"),
            pod_uid=need("RETUNE_POD_UID"),
            arms_key=key,
            arms_file=Path(need("RETUNE_ARMS_FILE")),
            upstream=need("RETUNE_UPSTREAM").rstrip("/"),
            models=Path(need("RETUNE_MODELS")),
            # A line's end is the commonest slip in a Secret that was made by hand.
            endpoint_key=environment.get("RETUNE_BASELINE_OPENAI_API_KEY", "").strip() or None,
            arm=arm,
            serves=environment.get("RETUNE_SERVES") or "base",
            digest=environment.get("RETUNE_SERVES_DIGEST", ""),
            peers=environment.get("RETUNE_PEERS", ""),
        )
