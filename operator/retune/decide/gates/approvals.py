"""Have the people who must agree agreed? Decided again at every look while somebody is missing."""

import hashlib
import json

from retune.api import Approval, FineTuneRunStatus, GateMode, GateResult, GateVerdict
from retune.decide.facts import RunFacts
from retune.decide.gates import privacy
from retune.decide.gates.finding import skipped
from retune.decide.naming import APPROVAL_PREFIX

NAME = "approvals"


def judge(facts: RunFacts, status: FineTuneRunStatus) -> tuple[GateResult, tuple[Approval, ...]]:
    """The gate's result, and the approvals that stand: this run's own, and those of earlier runs for the same thing."""
    gate = facts.spec.gates.approvals
    if gate is None or not gate.required:
        return skipped(NAME, "spec.gates.approvals names nobody."), ()
    if gate.mode is GateMode.OFF:
        return skipped(NAME, "spec.gates.approvals.mode is Off."), ()
    what = subject(facts, status)
    given = []
    for required in gate.required:
        approval = _given(facts, status, required.name, what)
        if approval is not None:
            given.append(approval)
    missing = [r.name for r in gate.required if r.name not in {a.name for a in given}]
    values = {"required": float(len(gate.required)), "given": float(len(given))}
    if not missing:
        said = "; ".join(f"{a.name} by {a.by} at {a.at:%Y-%m-%d %H:%M} UTC" for a in given)
        return GateResult(name=NAME, verdict=GateVerdict.PASSED, reason=f"{said}.", values=values), tuple(given)
    names = " ".join(missing)
    warn = gate.mode is GateMode.WARN
    return (
        GateResult(
            name=NAME,
            verdict=GateVerdict.WARNED if warn else GateVerdict.WAITING,
            reason=f"{'Not approved' if warn else 'Waiting for approval'}: {', '.join(missing)}.",
            advice=f"Whoever may: kubectl retune approve {facts.spec.job_ref.name} {names}",
            values=values,
        ),
        tuple(given),
    )


def _given(facts: RunFacts, status: FineTuneRunStatus, name: str, what: str) -> Approval | None:
    by = facts.meta.annotations.get(f"{APPROVAL_PREFIX}{name}", "")[:256]
    if by:  # admission has seen to it that this is who wrote it: docs/approvals.md
        known = next((a for a in status.approvals if (a.name, a.by) == (name, by)), None)
        return known or Approval(name=name, by=by, at=facts.now, subject=what)
    # Only what was given before this run began: a signature on this run itself can still be withdrawn.
    began = facts.meta.created or facts.now
    return next((a for a in facts.job.approvals if (a.name, a.subject) == (name, what) and a.at < began), None)


def subject(facts: RunFacts, status: FineTuneRunStatus) -> str:
    """What is approved: base model, data sources and the kinds of personal data in them.

    As long as it stays the same, an approval holds for later runs.
    """
    gate = next((g for g in status.gates if g.name == privacy.NAME), None)
    dataset = facts.spec.dataset
    parts = [
        facts.spec.base_model.uri,
        dataset.train.uri,
        dataset.gold.uri,
        privacy.kinds(gate.values or {}) if gate is not None else [],
    ]
    return "sha256:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()
