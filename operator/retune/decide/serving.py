"""What serves for a job: the pods' template, the arms at rest, and how a job says that all is well.

Pure. A run in a rollout phase decides on the arms (`rollout`); otherwise its job does, here.
"""

import hashlib
import json
from dataclasses import asdict, replace

from retune.api import CandidateModel, Initial, RolloutIntent, Serving, Source, Store
from retune.decide.actions import ApplyServing, PushArms, RemoveCanary, ServingTemplate, StopServing, WriteArms
from retune.decide.arms import Arm, Arms, Split
from retune.decide.conditions import find
from retune.decide.draft import JobDraft
from retune.decide.facts import RunFacts
from retune.decide.naming import REFRESH_ANNOTATION
from retune.decide.readings import Serving as Seen
from retune.decide.readings import ServingPod
from retune.decide.reverting import mode_changed
from retune.decide.rollout import separate
from retune.decide.rollout.scene import Scene, arm_is, candidate_arm, in_rollout, refused, scene_of_job

SMALLEST_RANK = 16
LOOK, SOON = 60.0, 5.0  # s between two looks at taps at rest, and while they do not all do as they were told
SETTLES = 10.0  # s that a Gateway may go on after it said that it follows: Traefik gathers changes for two
AGAIN = 15.0  # s, where some do not answer: each look waits for them, and events tell of pods that come and go
# Of `serving`, what lies in the arms document, in no pod.
_NOT_IN_PODS = {"sticky_header", "opt_out_header", "corrections", "http_route", "initial", "mode"}


# ------------------------------------------------------------------------------------------------------------- the pods


def fitting_rank(rank: int) -> int:
    """The power of two from 16 on that an adapter of `rank` fits in: servers take no others."""
    return max(SMALLEST_RANK, 1 << (rank - 1).bit_length())


def template(draft: JobDraft, serving: Serving, model: str) -> ServingTemplate | None:
    """What the pods are made from; None: the base model is not resolved yet, or there is no place for artifacts."""
    spec, facts, base = draft.spec, draft.facts, draft.status.base_model
    store = spec.artifacts or (Store(uri=facts.policy.artifacts_uri) if facts.policy.artifacts_uri else None)
    if base is None or store is None:
        return None
    return ServingTemplate(
        serving=serving,
        model=model,
        base=Source(uri=base.resolved or base.uri, secret_ref=spec.base_model.secret_ref),
        base_digest=base.digest,
        artifacts=store,
        endpoint=spec.gates.baseline.endpoint if serving.initial is Initial.ENDPOINT else None,
        max_rank=draft.status.max_rank or SMALLEST_RANK,
    )


def template_digest(made: ServingTemplate) -> str:
    """`sha256:…` over what a user can see of `made`. An upgrade of the operator changes nothing in it."""
    told = {
        "serving": made.serving.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_IN_PODS),
        "model": made.model,
        "base": made.base.model_dump(mode="json", exclude_none=True),
        "baseDigest": made.base_digest,
        "artifacts": made.artifacts.model_dump(mode="json", exclude_none=True),
        "endpoint": made.endpoint.model_dump(mode="json", exclude_none=True) if made.endpoint is not None else None,
        "maxRank": made.max_rank,
    }
    if made.alone is not None:
        told["alone"] = asdict(made.alone)
    return "sha256:" + hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def needed_rank(draft: JobDraft) -> int:
    """What the servers must take: the ranks of all models that serve, or are on their way. It never falls."""
    status = draft.status
    names = {m.run for m in (status.stable, status.previous) if m is not None}
    active = draft.active
    methods = [r.spec.method for r in draft.facts.runs if r.meta.name in names or (active is not None and r is active)]
    ranks = [m.lora.rank for m in methods] or [draft.spec.method.lora.rank]
    return max(status.max_rank or 0, fitting_rank(max(ranks)))


# ------------------------------------------------------------------------------------------------------ the job's rules


def served(draft: JobDraft) -> bool:
    """The pods that serve, and the arms while no run is in a rollout. It holds nothing else up."""
    spec = draft.facts.spec
    run = in_rollout(draft.facts.runs)
    _show_candidate(draft, run)
    if spec is None:
        _rest_as_it_was(draft, run)
        return False
    if spec.serving is None:
        _stop(draft, run)
        return False
    scene, strange = scene_of_job(draft), mode_changed(draft)
    if scene is None or strange:
        _rest_as_it_was(draft, run)
        _route_as_it_was(draft, spec.serving, run)
        draft.condition("Ready", "False", "NotToBeHad", strange or refused(spec))
        return False
    made = _made(draft, scene, run)
    if made is None:
        text = "Serving waits until the first run's preflight has resolved spec.baseModel.uri."
        draft.condition("Ready", "False", "BaseNotResolved", text)
        _rest_as_it_was(draft, run)
        return False
    seen, digest = draft.facts.serving, template_digest(made)
    refresh = draft.facts.meta.annotations.get(REFRESH_ANNOTATION, "")
    if seen.deployed != digest or seen.refreshed != refresh:
        draft.actions.append(ApplyServing(made, digest, refresh))
    if run is None:
        _rest(draft, scene.at_rest())
        _rest_separate(draft, scene)
    _say(draft, scene.stable)
    _say_route(draft, scene)
    return False


def _made(draft: JobDraft, scene: Scene, run: RunFacts | None) -> ServingTemplate | None:
    """What stable's pods are made from; None: it cannot be known yet."""
    if not scene.separate:
        draft.set(max_rank=needed_rank(draft))
    model = scene.model
    if run is not None and run.spec.serving is not None:  # its arms bear the name of its snapshot until it ends
        model = run.spec.serving.model_name or scene.job
    made = template(draft, scene.serving, model)
    return _of_stable(scene, made, run) if made is not None and scene.separate else made


def _of_stable(scene: Scene, made: ServingTemplate, run: RunFacts | None) -> ServingTemplate:
    """In mode Deployment stable's pods hold its whole model; a candidate's from when its promotion is decided on."""
    if scene.model != made.model:
        scene = replace(scene, serving=scene.serving.model_copy(update={"model_name": made.model}))
    arm, rollout = scene.stable, run.status.rollout if run is not None else None
    if run is not None and rollout is not None and rollout.intent is RolloutIntent.PROMOTE:
        arm = candidate_arm(scene, run.meta.name, run.status) or arm
    return separate.template(scene, arm, made.artifacts, (made.base, made.base_digest), canary=False)


def _rest_separate(draft: JobDraft, scene: Scene) -> None:
    """All users go to stable; then what is left of a candidate goes."""
    seen = draft.facts.serving
    if not scene.separate:
        if seen.canary:  # the mode has been changed
            draft.actions.append(RemoveCanary())
        return
    route = separate.route(scene.serving, 0, seen)
    if route is not None:
        draft.actions.append(route)
        draft.again_in(SOON)
    elif seen.canary and seen.route is not None and not seen.route.refused:
        ends = [r.status.ended_at for r in draft.facts.runs if r.status.ended_at is not None]
        since = (draft.facts.now - max(ends)).total_seconds() if ends else SETTLES
        if since < SETTLES:
            draft.again_in(SETTLES - since)
        else:
            draft.actions.append(RemoveCanary())


def _say_route(draft: JobDraft, scene: Scene) -> None:
    """Nobody is served through a route that no Gateway follows, however well the pods are."""
    route = draft.facts.serving.route
    if not scene.separate:
        return
    if route is None or not route.digest:
        text = "There is no HTTPRoute of this job yet; the condition ServingApplied says if it cannot be written."
        draft.condition("Ready", "False", "NoRoute", text)
    elif route.refused:
        draft.condition("Ready", "False", "RouteNotFollowed", f"The HTTPRoute is not followed: {route.refused}")


def _stop(draft: JobDraft, run: RunFacts | None) -> None:
    """The spec asks for no serving: what serves is taken away, once no run is under way that was to serve."""
    seen, active = draft.facts.serving, draft.active
    if not seen.deployed:
        if find(draft.status.conditions, "Ready") is not None:
            draft.condition("Ready", "False", "NotServed", "Nothing serves: the job has no spec.serving.")
        return
    if active is not None and active.spec.serving is not None and not active.meta.deleting:
        name = active.meta.name
        text = f"spec.serving was taken away; what serves goes when run {name}, which was made to serve, has ended."
        draft.condition("Ready", "Unknown", "NotServed", text)
        _rest_as_it_was(draft, run)
        return
    draft.actions.append(StopServing())
    draft.set(conditions=tuple(c for c in draft.status.conditions if c.type != "ServingHealthy"))
    draft.condition("Ready", "False", "NotServed", "spec.serving was taken away; what served is being deleted.")


def _show_candidate(draft: JobDraft, run: RunFacts | None) -> None:
    weight = run.status.rollout.weight if run is not None and run.status.rollout is not None else 0
    draft.set(candidate=CandidateModel(run=run.meta.name, weight=weight) if run is not None else None)


def _rest(draft: JobDraft, desired: Arms) -> None:
    """Write the arms where they differ; push them to taps that have older ones."""
    seen = draft.facts.serving
    if not desired.same_as(seen.arms) or seen.overtaken:
        draft.actions.append(WriteArms(desired))
        draft.again_in(SOON)
        return
    late = behind(seen)
    if late:
        draft.actions.append(PushArms(late))
    stables = [split.stable for split in desired.models.values()]
    loading = any(not arm_is(tap.arms.get("stable"), arm) for tap in seen.taps.values() for arm in stables)
    settled = not seen.silent and all(p.ready for p in seen.pods)
    draft.again_in(SOON if late or loading else LOOK if settled else AGAIN)


def _rest_as_it_was(draft: JobDraft, run: RunFacts | None) -> None:
    """The spec does not say how: whatever was written last stays, but for a candidate whose run is gone."""
    last = draft.facts.serving.arms
    if last is None or run is not None:
        return
    models = {
        name: Split(
            stable=s.stable,
            keep=s.keep,
            sticky_header=s.sticky_header,
            opt_out_header=s.opt_out_header,
            edges=s.edges,
            patience=s.patience,
            features=s.features,
            corrections=s.corrections,
        )
        for name, s in last.models.items()
    }
    _rest(draft, Arms(last.namespace, last.job, last.uid, models))


def _route_as_it_was(draft: JobDraft, serving: Serving, run: RunFacts | None) -> None:
    """The same of the HTTPRoute, where there is one: nobody would watch the candidate."""
    seen = draft.facts.serving
    if run is None and seen.route is not None and serving.http_route is not None:
        route = separate.route(serving, 0, seen)
        if route is not None:
            draft.actions.append(route)


def behind(seen: Seen) -> tuple[ServingPod, ...]:
    """Pods whose taps have answered, and have an older document than the one written last."""
    written = seen.arms.generation if seen.arms is not None else 0
    return tuple(p for p in seen.pods if (tap := seen.taps.get(p.uid)) is not None and tap.generation < written)


def _say(draft: JobDraft, stable: Arm) -> None:
    """`Ready`: stable serves everywhere. `ServingHealthy`: all pods and their taps are well."""
    seen = draft.facts.serving
    pods = [p for p in seen.pods if not p.deleting and not p.canary]
    good = [p for p in pods if _serves(seen, p, stable)]
    what = f"run {stable.run}" if stable.run else f"the {stable.kind.value.lower()}"
    count = f"{len(good)} of {len(pods)} pods serve {what}"
    if pods and len(good) == len(pods):
        draft.condition("Ready", "True", "StableServes", f"{count}.")
    else:
        draft.condition("Ready", "False", "NotEverywhere" if good else "NotServing", f"{count}.")
    ill = [f"{p.name}: {said}" for p in pods if (said := _complaint(seen, p))]
    if not pods:
        draft.condition("ServingHealthy", "Unknown", "NoPods", "There is no pod of the Deployment.")
    elif not ill:
        draft.condition("ServingHealthy", "True", "Healthy", f"All {len(pods)} pods are ready and their taps answer.")
    else:
        silent = all(p.ready for p in pods)
        text = f"{len(ill)} of {len(pods)} pods: {'; '.join(ill[:5])}"
        draft.condition("ServingHealthy", "Unknown" if silent else "False", "TapSilent" if silent else "PodsIll", text)


def _serves(seen: Seen, pod: ServingPod, stable: Arm) -> bool:
    tap = seen.taps.get(pod.uid)
    return pod.ready and tap is not None and arm_is(tap.arms.get("stable"), stable)


def _complaint(seen: Seen, pod: ServingPod) -> str:
    if pod.waiting is not None:
        return f"{pod.waiting[0]}: {pod.waiting[1]}"
    tap = seen.taps.get(pod.uid)
    failed = [f"{name} {a.message}" for name, a in tap.arms.items() if a.state == "Failed"] if tap is not None else []
    if failed:
        return f"failed to load {failed[0]}"
    if not pod.ready:
        return "is not ready"
    return seen.silent.get(pod.uid, "its tap has not answered") if tap is None else ""
