"""Have the people who must agree agreed? Decided again at every look while somebody is missing.

A status is written over the very version of the run that its annotations were read from. So the signatures that are
there when preflight's result is taken in were put without knowing it, and no clock is needed to tell them apart.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from retune.api import Approval, FineTuneRunStatus, GateMode, GateResult, GateVerdict
from retune.decide.facts import RunFacts
from retune.decide.gates import privacy
from retune.decide.gates.finding import REASON_LIMIT, skipped
from retune.decide.naming import APPROVAL_PREFIX

NAME = "approvals"


def judge(facts: RunFacts, status: FineTuneRunStatus) -> tuple[GateResult, tuple[Approval, ...]]:
    """The gate's result, and the approvals that stand: this run's own, and those of earlier runs for the same thing.

    Args:
        facts: the run as it was when its annotations were read.
        status: as it becomes, with what preflight has found and `early` of this step.
    """
    gate = facts.spec.gates.approvals
    if gate is None or not gate.required:
        return skipped(NAME, "spec.gates.approvals names nobody."), ()
    if gate.mode is GateMode.OFF:
        return skipped(NAME, "spec.gates.approvals.mode is Off."), ()
    what = subject(facts, status)
    found = (_given(facts, status, required.name, what) for required in gate.required)
    given = [approval for approval in found if approval is not None]
    missing = [r.name for r in gate.required if r.name not in {a.name for a in given}]
    values = {"required": float(len(gate.required)), "given": float(len(given))}
    if not missing:
        said = "; ".join(f"{a.name} by {a.by} at {a.at:%Y-%m-%d %H:%M} UTC" for a in given)
        return _result(GateVerdict.PASSED, f"{said}.", "", values), tuple(given)
    warn = gate.mode is GateMode.WARN
    reason = f"{'Not approved' if warn else 'Waiting for approval'}: {', '.join(missing)}."
    advice = f"Whoever may: kubectl retune approve {facts.spec.job_ref.name} {' '.join(missing)}"
    again = {name: by for name, by in (status.early_signatures or {}).items() if name in missing}
    if again:
        told = ", ".join(f"{name} by {by}" for name, by in again.items())
        reason += f" Signed before it was known what personal data is in it, so to be signed anew: {told}."
        first = ", ".join(f"{APPROVAL_PREFIX}{name}-" for name in again)
        advice = f"Take the early signatures away (kubectl annotate finetunerun {facts.meta.name} {first}). {advice}"
    return _result(GateVerdict.WARNED if warn else GateVerdict.WAITING, reason, advice, values), tuple(given)


def early(facts: RunFacts, status: FineTuneRunStatus) -> dict[str, str]:
    """Signatures (approval: who) that were there before preflight found what they would have to cover.

    One is forgotten as soon as the run is seen without it: what is put there then is put in knowledge.
    """
    gate = facts.spec.gates.approvals
    signed = {r.name: by for r in (gate.required if gate is not None else ()) if (by := _signer(facts, r.name))}
    if facts.status.resolved is not None:
        known = facts.status.early_signatures or {}
        return {name: by for name, by in signed.items() if known.get(name) == by}
    # Nothing was found that the spec did not say: then they could know.
    return signed if subject(facts, facts.status) != subject(facts, status) else {}


def _given(facts: RunFacts, status: FineTuneRunStatus, name: str, what: str) -> Approval | None:
    by = _signer(facts, name)
    if by and (status.early_signatures or {}).get(name) != by:
        known = next((a for a in status.approvals if (a.name, a.by, a.subject) == (name, by, what)), None)
        return known or Approval(name=name, by=by, at=facts.now, subject=what)
    # Those of the job are of runs that wait no longer: one on this run itself can still be withdrawn.
    return next((a for a in facts.job.approvals if (a.name, a.subject) == (name, what)), None)


def _signer(facts: RunFacts, name: str) -> str:
    # Admission has seen to it that this is who wrote it: docs/approvals.md.
    return facts.meta.annotations.get(f"{APPROVAL_PREFIX}{name}", "")[:256]


def _result(verdict: GateVerdict, reason: str, advice: str, values: Mapping[str, float]) -> GateResult:
    return GateResult(name=NAME, verdict=verdict, reason=_short(reason), advice=_short(advice), values=values)


def _short(text: str) -> str:
    return text if len(text) <= REASON_LIMIT else text[: REASON_LIMIT - 1] + "…"


def subject(facts: RunFacts, status: FineTuneRunStatus) -> str:
    """What is approved: base model, data sources, and the personal data in them: what was looked for, found, scrubbed.

    As long as it stays the same, an approval holds for later runs.
    """
    dataset = facts.spec.dataset
    parts = [facts.spec.base_model.uri, dataset.train.uri, dataset.gold.uri, *_personal(facts, status)]
    return "sha256:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _personal(facts: RunFacts, status: FineTuneRunStatus) -> tuple[Sequence[str] | None, Sequence[str], bool]:
    """Kinds found (None: nobody looked, which is not the same as nothing), kinds looked for, and are they scrubbed."""
    gate, wanted = next((g for g in status.gates if g.name == privacy.NAME), None), facts.spec.gates.privacy
    if wanted.mode is GateMode.OFF or (gate is not None and gate.values is None):
        return None, (), False
    numbers = (gate.values if gate is not None else None) or {}
    found = privacy.kinds(numbers)
    return found, sorted(wanted.entities), bool(found) and bool(numbers.get("redacted"))
