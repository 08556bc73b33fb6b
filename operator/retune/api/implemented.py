"""The one table of what the API accepts and this version does not act on yet, and what happens instead.

Pure. `docs/fields.md` is made from it (`python -m retune.api.implemented` prints the list), and a job's condition
`Supported` says the same of that job. The table shrinks; when it is empty this file goes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from retune.api.job import DeletionPolicy, FineTuneJobSpec
from retune.api.serving import ServingMode


@dataclass(frozen=True)
class Gap:
    """A field that is accepted but not acted on: where it stands, what happens, and whether a given job asks for it."""

    path: str
    happens: str
    asked: Callable[[FineTuneJobSpec], bool]


GAPS: tuple[Gap, ...] = (
    # Training.
    Gap("spec.training.nodes", "one node trains", lambda spec: spec.training.nodes > 1),
    Gap("spec.training.queueName", "the Job waits in no queue", lambda spec: spec.training.queue_name is not None),
    # After training.
    Gap(
        "spec.serving.stickyHeader",
        "in mode Deployment the Gateway gives each request its arm: nobody stays on one",
        lambda spec: (
            spec.serving is not None
            and spec.serving.mode is ServingMode.DEPLOYMENT
            and spec.serving.sticky_header is not None
        ),
    ),
    Gap(
        "spec.serving.corrections",
        "with artifacts on a volume (pvc://) nothing is collected: taps write to S3 alone",
        lambda spec: (
            spec.serving is not None
            and spec.serving.corrections.collect
            and spec.artifacts is not None
            and spec.artifacts.uri.startswith("pvc://")
        ),
    ),
    Gap(
        "spec.deletionPolicy",
        "Orphan is Delete: what serves goes with the job",
        lambda spec: spec.serving is not None and spec.deletion_policy is DeletionPolicy.ORPHAN,
    ),
)
"""Every gap, in the order of the spec within its subject."""


def not_implemented(spec: FineTuneJobSpec) -> list[str]:
    """Paths in `spec` that promise what this version does not do."""
    return [gap.path for gap in GAPS if gap.asked(spec)]


def table() -> str:
    """Write the gaps as a Markdown table."""
    rows = [f"| `{gap.path.removeprefix('spec.')}` | {gap.happens} |" for gap in GAPS]
    return "\n".join(["| field under `spec` | what happens in this version |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
