"""What a rollout keeps beside its status for a restart of the operator: evidence, and counts of pods that are gone.

Pure values and their JSON; written with `WriteMemory`, read from `facts.serving.memory`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from retune.decide.evidence.judge import Memory, dump, load

VERSION = 1


@dataclass(frozen=True)
class Kept:
    """One note.

    Attributes:
        at: when it was written, seconds since the epoch.
        evidence: None before the candidate meets anybody, or if it was lost.
        baking: the tests have been started afresh for the bake.
        counted: what all counters add up to; only a change is worth a new note.
        spent: by pod uid and start of its tap, (requests, bad) that the candidate has had there.
        shadow: by pod uid, (sent, failed) of shadow copies when the shadow began.
    """

    at: float = 0.0
    evidence: Memory | None = None
    baking: bool = False
    counted: int = 0
    spent: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    shadow: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def text(self) -> str:
        """As JSON, which `read_kept` reads back."""
        told = {
            "version": VERSION,
            "at": self.at,
            "evidence": dump(self.evidence) if self.evidence is not None else None,
            "baking": self.baking,
            "counted": self.counted,
            "spent": self.spent,
            "shadow": self.shadow,
        }
        return json.dumps(told, sort_keys=True, separators=(",", ":"))


def read_kept(text: str) -> Kept | None:
    """The note in `text`; None: there is none, or it cannot be read."""
    try:
        told = json.loads(text) if text else None
        if told is None or told["version"] != VERSION:
            return None
        return Kept(
            at=float(told["at"]),
            evidence=load(told["evidence"]) if told["evidence"] else None,
            baking=bool(told["baking"]),
            counted=int(told["counted"]),
            spent={str(k): (int(v[0]), int(v[1])) for k, v in told["spent"].items()},
            shadow={str(k): (int(v[0]), int(v[1])) for k, v in told["shadow"].items()},
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
