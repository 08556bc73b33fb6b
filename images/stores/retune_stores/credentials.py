"""Takes the credentials of each role out of the environment, and removes their values from text.

Nothing else may read `RETUNE_*_AWS_…`, `RETUNE_*_HF_TOKEN` or `RETUNE_*_API_KEY`; after `take` they are gone from
`os.environ`, so that no library, subprocess or crash dump can show them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote


class Role(StrEnum):
    """What a Secret is for, as the prefix in the environment says."""

    BASE_MODEL = "RETUNE_BASE_MODEL_"
    TRAIN = "RETUNE_TRAIN_"
    GOLD = "RETUNE_GOLD_"
    ARTIFACTS = "RETUNE_ARTIFACTS_"
    GUARD = "RETUNE_GUARD_"
    BASELINE = "RETUNE_BASELINE_"
    MLFLOW = "RETUNE_MLFLOW_"
    WANDB = "RETUNE_WANDB_"


KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "HF_TOKEN",
    "OPENAI_API_KEY",
    "API_KEY",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_ENTITY",
)
# A region, an endpoint and a name are needed in messages; an endpoint's own user:password part is removed separately.
SECRET_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_TOKEN",
    "OPENAI_API_KEY",
    "API_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "WANDB_API_KEY",
)


@dataclass(frozen=True)
class Credentials:
    """The keys of one Secret. Its repr shows none of them."""

    values: dict[str, str] = field(default_factory=dict, repr=False)

    def get(self, key: str) -> str | None:
        """The value of one of `KEYS`, or None when it is absent or empty."""
        return self.values.get(key) or None

    def __bool__(self) -> bool:
        return any(self.values.values())


def take(environ: MutableMapping[str, str]) -> dict[Role, Credentials]:
    """Remove every credential from `environ` and return it by role.

    Whole prefixes are removed, not known keys only: a Secret is brought in whole and may hold more than is asked for.
    """
    found: dict[Role, Credentials] = {}
    for role in Role:
        values = {}
        for name in [name for name in environ if name.startswith(role.value)]:
            value = environ.pop(name)
            key = name.removeprefix(role.value)
            if key in KEYS:
                # A trailing newline is the commonest slip in a hand-made Secret and makes every signature wrong.
                values[key] = value.strip()
        found[role] = Credentials(values)
    return found


_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")
HIDDEN = "[hidden]"


class Scrubber:
    """Replaces every credential value in text that leaves the process."""

    def __init__(self, credentials: Iterable[Credentials] = ()) -> None:
        """Values of less than four characters are left: replacing them would only garble text, and hides nothing."""
        values = {c.get(key) for c in credentials for key in SECRET_KEYS}
        plain = {value for value in values if value and len(value) >= 4}
        forms = plain | {quote(value, safe="") for value in plain}
        # The longest first, so that a value that contains another is replaced whole.
        self._values = sorted(forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` without any credential."""
        for value in self._values:
            text = text.replace(value, HIDDEN)
        return _USERINFO.sub("", text)

    def tree(self, value: Any) -> Any:  # noqa: ANN401 (JSON as it comes)
        """The same for every string in a JSON-like value, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.tree(key): self.tree(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(item) for item in value]
        return value
