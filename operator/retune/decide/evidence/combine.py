"""All tests of all metrics together, and how much evidence is enough.

An average of e-processes with fixed weights is one again, so one threshold serves all and nothing is lost against
splitting alpha (Vovk and Wang, "E-values: calibration, combination and applications", 2021). The smallest of several
e-processes is smaller than each of them: every test is also kept without each of the 32 buckets of sticky ids, and the
smallest counts. A single client, whatever it does, then decides nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from retune.decide.evidence.eprocess import Floats

INTERFERENCE = 0.1  # share of alpha that goes to stable's own slowness, where that is watched


def threshold(confidence: float) -> float:
    """Evidence from which a candidate is taken back: 1 / alpha; one half of it is the canary's, one the bake's."""
    return 2.0 / (1.0 - confidence)


def of_metric(comparative: Floats, absolute: Floats | None) -> Floats:
    """A metric's evidence by row (whole, then without each bucket): half of each test, or all of (a) alone."""
    return comparative if absolute is None else (comparative + absolute) / 2


def combined(metrics: Sequence[Floats], share: float) -> tuple[float, int]:
    """Sum of v_m E_m, of the row where it is smallest. A metric without buckets is the same in all rows.

    Args:
        metrics: evidence by row, 1 or 33 of them.
        share: v_m, the same for all.

    Returns:
        The sum, and the row.
    """
    if not metrics:
        return 0.0, 0
    rows = np.zeros(max(len(each) for each in metrics))
    for each in metrics:
        rows = rows + share * each
    return float(rows.min()), int(rows.argmin())


def carried(values: Mapping[str, float], enough: float, share: float) -> tuple[str, ...]:
    """The names whose evidence carried a breach: the largest, as many as are needed (all, if those fall short)."""
    names: list[str] = []
    total = 0.0
    for name in sorted(values, key=lambda name: -values[name]):
        names.append(name)
        total += share * values[name]
        if total >= enough:
            break
    return tuple(names)
