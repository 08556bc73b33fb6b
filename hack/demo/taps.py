"""The taps, asked again and again what they give to whom: the share that is really given, and what was counted.

Asks `GET /v1/state` on each tap's port for the cluster (design/0012), twice a second, in a thread of its own.
"""

import json
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

PORT = 9090
PATIENCE = 2.0
"""Seconds that a tap may take to answer."""
PACE = 0.5
"""Seconds between two rounds."""


@dataclass(frozen=True)
class TapLook:
    """All taps at one moment.

    Attributes:
        at: seconds since the epoch.
        weights: by pod, percent really given to the candidate.
        strata: by pod, the stratum that its document names.
        bad: by metric and stratum, the candidate's bad answers, over all taps.
        silent: pods whose tap did not answer.
    """

    at: float
    weights: Mapping[str, int]
    strata: Mapping[str, str]
    bad: Mapping[tuple[str, str], int]
    silent: tuple[str, ...] = ()

    @property
    def weight(self) -> int | None:
        """The largest share that any tap gives to its candidate; None while none answers."""
        return max(self.weights.values(), default=None)

    def of_run(self, number: int) -> bool:
        """Whether any tap counts under a stratum of this run."""
        return any(stratum.partition(":")[0] == str(number) for stratum in self.strata.values())

    def faults(self, number: int) -> int:
        """Bad answers of this run's candidate that are in the counters."""
        return sum(count for (_, stratum), count in self.bad.items() if stratum.partition(":")[0] == str(number))


def state(url: str) -> dict[str, Any]:
    """What one tap says.

    Raises:
        OSError: it does not answer.
        ValueError: what it says is not JSON.
    """
    with urllib.request.urlopen(f"{url}/v1/state", timeout=PATIENCE) as answer:  # noqa: S310 — http, of our cluster
        return dict(json.load(answer))


def added(at: float, told: Sequence[Mapping[str, Any]], silent: Sequence[str] = ()) -> TapLook:
    """One look from what each tap said."""
    weights: dict[str, int] = {}
    strata: dict[str, str] = {}
    bad: dict[tuple[str, str], int] = {}
    for one in told:
        for model in one["models"].values():  # one job, so one model
            weights[one["pod"]], strata[one["pod"]] = int(model["weight"]), str(model["stratum"])
            for metric, arms in model["counters"].items():
                for stratum, counts in arms.get("canary", {}).items():
                    bad[metric, stratum] = bad.get((metric, stratum), 0) + sum(counts["bad"])
    return TapLook(at, weights, strata, bad, tuple(silent))


class TapWatch:
    """Looks at the taps it is told of, from `__enter__` to `__exit__`. `looks` grows when something has changed."""

    def __init__(self) -> None:
        self.looks: list[TapLook] = []
        self._urls: dict[str, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="taps", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def watch(self, urls: Mapping[str, str]) -> None:
        """Look at these from now on: pod → URL of its tap's port for the cluster."""
        self._urls = dict(urls)

    def _watch(self) -> None:
        while not self._over.wait(PACE):
            look = self._look()
            same = self.looks and (self.looks[-1].weights, self.looks[-1].strata, self.looks[-1].bad) == (
                look.weights,
                look.strata,
                look.bad,
            )
            if look.weights and not same:
                self.looks.append(look)

    def _look(self) -> TapLook:
        told, silent = [], []
        for pod, url in self._urls.items():
            try:
                told.append(state(url))
            except (OSError, ValueError):
                silent.append(pod)
        return added(time.time(), told, silent)
