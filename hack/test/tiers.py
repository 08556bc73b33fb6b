"""What `make test` runs, in which order, and what each tier needs."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hack.cluster import backend, binaries, cache
from hack.cluster.process import ClusterError
from hack.cluster.settings import ROOT
from hack.test.warmup import ImageBuild

UV = str(ROOT / "hack" / "uv")
RUN = (UV, "run", "--frozen")
CLUSTER = (sys.executable, str(ROOT / "hack" / "cluster"))
NOTHING_COLLECTED = 5
"""pytest's exit status when a folder holds no test."""


@dataclass(frozen=True)
class Tier:
    """Commands that belong together; `cluster` says that they need the cluster with the operator in it."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    cluster: bool = False


TIERS = (
    Tier(
        "lint",
        (
            (UV, "sync", "--frozen"),
            (*RUN, "ruff", "check", "."),
            (*RUN, "ruff", "format", "--check", "."),
            (*RUN, "mypy", "operator", "images/trainer", "images/tap", "images/stores", "hack"),
            (*RUN, "lint-imports"),
            (*RUN, "python", "-m", "retune.api.crds", "--check"),
            (*RUN, "python", "-m", "hack.dashboards", "--check"),
        ),
    ),
    Tier("unit", ((*RUN, "pytest", "tests/unit"),)),
    Tier(
        "install",
        ((*CLUSTER, "up"), (*CLUSTER, "images"), (*CLUSTER, "infra"), (*CLUSTER, "install")),
        cluster=True,
    ),
    Tier("cluster", ((*RUN, "pytest", "tests/cluster"),), cluster=True),
    Tier("e2e", ((*RUN, "pytest", "tests/e2e"),), cluster=True),
)


@dataclass(frozen=True)
class Outcome:
    """How a tier ended: `passed`, `failed`, or `skipped` with the reason."""

    tier: str
    result: str
    seconds: float


def main() -> int:
    """Runs the tiers and prints a table; 0 if all passed."""
    parser = argparse.ArgumentParser(prog="hack/test")
    parser.add_argument("tiers", nargs="*", metavar="TIER", help=f"all of {', '.join(tier.name for tier in TIERS)}")
    names = parser.parse_args().tiers or [tier.name for tier in TIERS]
    if unknown := set(names) - {tier.name for tier in TIERS}:
        parser.error(f"no such tier: {', '.join(sorted(unknown))}")
    tiers = [tier for tier in TIERS if tier.name in names]
    # Whoever asks for a tier that needs the cluster gets one, whether or not they name what installs it.
    if any(tier.cluster for tier in tiers) and "install" not in names:
        tiers.insert(next(n for n, tier in enumerate(tiers) if tier.cluster), TIERS[2])
    # Ended by a signal, we stop what we started as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cache.make()
        return _run(tiers)
    except ClusterError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(tiers: Sequence[Tier]) -> int:
    needs_cluster = any(tier.cluster for tier in tiers)
    was_up = needs_cluster and backend.choose().healthy()
    outcomes: list[Outcome] = []
    build = ImageBuild([*CLUSTER, "images"])
    try:
        if needs_cluster and not tiers[0].cluster:
            build.start()
        for tier in tiers:
            if tier.cluster:
                build.finish()
            outcomes.append(_tier(tier))
            if outcomes[-1].result == "failed":
                break
    finally:
        build.stop()
        if needs_cluster and not was_up and os.environ.get("RETUNE_KEEP") != "1":
            subprocess.run([*CLUSTER, "down"], check=False)
    _table(outcomes, tiers)
    return 0 if all(outcome.result != "failed" for outcome in outcomes) else 1


def _tier(tier: Tier) -> Outcome:
    print(f"\n━━━━ {tier.name} {'━' * (70 - len(tier.name))}", flush=True)
    begin = time.monotonic()
    result = "passed"
    for command in tier.commands:
        shown = " ".join(command).replace(f"{UV} run --frozen ", "").replace(f"{ROOT}/", "")
        print(f"$ {shown}", flush=True)
        code = subprocess.run(command, check=False, cwd=ROOT, env=_environment(tier)).returncode
        if code == NOTHING_COLLECTED and "pytest" in command:
            result = "skipped: no tests there yet"
        elif code:
            result = "failed"
            break
    seconds = time.monotonic() - begin
    print(f"{tier.name}: {result} in {seconds:.0f} s", flush=True)
    return Outcome(tier.name, result, seconds)


def _environment(tier: Tier) -> dict[str, str]:
    """Tests of the cluster find it, and the client programs of its version, without knowing how it was started."""
    if not tier.cluster or tier.name == "install":
        return dict(os.environ)
    folders = {str(binaries.path(name).parent) for name in ("kubectl", "helm")}
    return {
        **os.environ,
        "KUBECONFIG": str(backend.choose().kubeconfig),
        "PATH": os.pathsep.join([*sorted(folders), os.environ["PATH"]]),
    }


def _table(outcomes: Sequence[Outcome], tiers: Sequence[Tier]) -> None:
    print(f"\n{'tier':<10}{'seconds':>8}  result")
    for outcome in outcomes:
        print(f"{outcome.tier:<10}{outcome.seconds:>8.0f}  {outcome.result}")
    for tier in tiers[len(outcomes) :]:
        print(f"{tier.name:<10}{'':>8}  not run")
    print(f"{'total':<10}{sum(outcome.seconds for outcome in outcomes):>8.0f}")
