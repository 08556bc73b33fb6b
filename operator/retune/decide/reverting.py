"""Going back to an earlier model by hand, and the changes that would strand it: another base model, another mode.

Pure; rules and words of a job.
"""

from retune.api import PreviousModel, RunPhase, ServingMode, StableModel
from retune.decide.conditions import Truth
from retune.decide.draft import JobDraft
from retune.decide.naming import ROLLBACK_ANNOTATION
from retune.decide.rollout.scene import in_rollout, serves


def reverted(draft: JobDraft) -> bool:
    """A person goes back to an earlier model, once for each value of the annotation; a rollout is rolled back first."""
    facts, status = draft.facts, draft.status
    asked = facts.meta.annotations.get(ROLLBACK_ANNOTATION, "")[:1024]
    if not asked:
        if status.rolled_back is not None:  # the same run can be asked for again
            draft.set(rolled_back=None)
        return False
    if asked == status.rolled_back or in_rollout(facts.runs) is not None:
        return False
    run = next((r for r in facts.runs if r.meta.name == asked), None)
    stable, previous = status.stable, status.previous
    if stable is not None and stable.run == asked:
        return _done(draft, asked, "True", "Reverted", f"Run {asked} is what serves.")
    if run is not None and run.status.phase is RunPhase.ROLLED_BACK:
        return _done(draft, asked, "True", "Reverted", f"Run {asked} was rolled back; it does not serve.")
    if run is not None and run.status.phase is RunPhase.PROMOTED and run.status.artifact is not None:
        digest, uri = run.status.artifact.digest, run.status.artifact.uri
    elif previous is not None and previous.run == asked and previous.uri is not None:
        digest, uri = previous.digest, previous.uri
    else:
        known = sorted(r.meta.name for r in facts.runs if r.status.phase is RunPhase.PROMOTED)[-10:]
        why = f"has no run {asked}" if run is None else f"has not promoted run {asked} ({run.status.phase})"
        text = f"The job {why}, so it cannot go back to it. Name one of: {', '.join(known) or 'none yet'}."
        return _done(draft, asked, "False", "NotPromoted" if run is not None else "UnknownRun", text)
    _go_back(draft, asked, digest, uri)
    was = f" in the place of {stable.run}" if stable is not None else ""
    return _done(draft, asked, "True", "Reverted", f"Run {asked} serves{was}, as the annotation asks.")


def _done(draft: JobDraft, asked: str, truth: Truth, reason: str, text: str) -> bool:
    draft.set(rolled_back=asked)
    draft.condition("Reverted", truth, reason, text)
    return False


def _go_back(draft: JobDraft, run: str, digest: str, uri: str) -> None:
    stable = draft.status.stable
    if stable is not None:
        draft.set(previous=PreviousModel(run=stable.run, digest=stable.digest, uri=stable.uri))
    # Since now: a run that was promoted earlier is older than this, and does not become stable again by itself.
    draft.set(stable=StableModel(run=run, digest=digest, uri=uri, since=draft.facts.now))


def base_changed(draft: JobDraft) -> str:
    """Why a changed base model is refused, or "": adapters of one base do not load on another."""
    pinned, spec = draft.status.base_model, draft.spec
    if pinned is None or pinned.uri == spec.base_model.uri or not serves(spec):
        return ""
    if draft.status.stable is None and not draft.facts.serving.deployed:
        return ""
    return (
        f"spec.baseModel.uri was {pinned.uri} and is now {spec.base_model.uri}, while the job serves. Adapters of one "
        "base do not load on another: put it back, or make a second job for the new base and move clients to it."
    )


def mode_changed(draft: JobDraft) -> str:
    """Why a changed mode of serving is refused, or "": an adapter is no whole model, nor the other way round."""
    serving, stable = draft.spec.serving, draft.status.stable
    if serving is None or stable is None or stable.uri is None:
        return ""
    other = "adapter" if serving.mode is ServingMode.DEPLOYMENT else "model"
    if stable.uri.rstrip("/").split("/")[-2] != other:
        return ""
    return (
        f"spec.serving.mode is {serving.mode.value}, and the promoted model, of run {stable.run}, "
        f"{'is an adapter' if other == 'adapter' else 'has no adapter'}: it cannot be served so. Put the mode and "
        "spec.method.type back, or make a second job and move clients to it."
    )
