"""How many cores this pod really has. Reads /sys/fs/cgroup and the affinity mask, nothing else.

A library that asks the machine sees the node's cores; with that many threads on a fraction of them, the quota stalls
every thread at each barrier.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

V2 = "cpu.max"
V1_QUOTA, V1_PERIOD = "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _affinity() -> int:
    return len(os.sched_getaffinity(0))


def quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores allowed by the CPU limit, or None without one. Understands cgroup v1 and v2."""
    v2 = _read(root / V2)
    if v2:
        limit, _, period = v2.partition(" ")
        return None if limit == "max" else int(limit) / int(period or 100_000)
    limit_v1, period_v1 = _read(root / V1_QUOTA), _read(root / V1_PERIOD)
    if limit_v1 and period_v1 and int(limit_v1) > 0:
        return int(limit_v1) / int(period_v1)
    return None


def available(root: Path = Path("/sys/fs/cgroup"), affinity: Callable[[], int] = _affinity) -> int:
    """Whole cores to use: the limit rounded down, never more than the affinity mask and never less than one."""
    cores, limit = affinity(), quota(root)
    return max(1, min(cores, int(limit + 1e-9)) if limit is not None else cores)
