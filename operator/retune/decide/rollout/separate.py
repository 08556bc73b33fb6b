"""Mode Deployment: stable and candidate have pods of their own, and the weights of an HTTPRoute split between them.

Pure. Both the job and its run in rollout decide by this; how the two modes differ is in design/0014.
"""

import hashlib
import json

from retune.api import RolloutIntent, Serving, Source, Store
from retune.decide.actions import Alone, ApplyRoute, ServingTemplate
from retune.decide.arms import Arm, ArmKind
from retune.decide.readings import Serving as Seen
from retune.decide.readings import ServingPod
from retune.decide.rollout.course import Course
from retune.decide.rollout.scene import Scene, arm_is


def template(scene: Scene, arm: Arm, store: Store, base: tuple[Source, str], *, canary: bool) -> ServingTemplate:
    """What the pods of one arm are made from. `base`: the base model and its digest, which an arm may be."""
    trained = arm.kind is ArmKind.MODEL
    return ServingTemplate(
        serving=scene.serving,
        model=scene.model,
        base=Source(uri=arm.uri, secret_ref=store.secret_ref) if trained else base[0],
        base_digest="" if trained else base[1],
        artifacts=store,
        endpoint=None,
        max_rank=0,
        alone=Alone(canary, arm.name, arm.digest),
    )


def route(serving: Serving, weight: int, seen: Seen) -> ApplyRoute | None:
    """The route with that share for the candidate, percent; None: it stands as it must."""
    told = serving.http_route
    assert told is not None  # noqa: S101 - what has none is refused before
    said = json.dumps([told.model_dump(mode="json"), serving.port], sort_keys=True, separators=(",", ":"))
    digest = "sha256:" + hashlib.sha256(said.encode()).hexdigest()
    if seen.route is not None and (seen.route.digest, seen.route.weight) == (digest, weight):
        return None
    return ApplyRoute(told, serving.port, weight, digest)


def share(course: Course) -> int:
    """What the route must give to the candidate, by the status as it becomes, percent.

    Behind a weight there must be a pod that has the candidate: a Gateway answers 500 for a Service without any. A
    promotion leaves the weight until stable's own pods have the new model.
    """
    status, stage = course.status, course.stage
    if status.intent is RolloutIntent.PROMOTE and stage is not None and not rolled(course):
        weight = stage.weight
    elif status.intent is not None:
        return 0
    else:
        weight = status.weight
    here = any(arm_is(t.arms.get("canary"), course.candidate) for t in course.taps)
    # A tap that is silent is no pod that is gone: its users are served.
    silent = any(p.uid in course.seen.silent for p in course.ready if p.canary)
    return weight if here or silent else 0


def rolled(course: Course) -> bool:
    """Whether every pod of stable has the candidate's model: what a promotion in this mode waits for."""
    pods = [p for p in course.seen.pods if not p.canary and not p.deleting]
    taps = course.seen.taps
    return bool(pods) and all(
        p.ready and p.uid in taps and arm_is(taps[p.uid].arms.get("stable"), course.candidate) for p in pods
    )


def held_over(course: Course) -> tuple[ServingPod, ...]:
    """Pods of stable that users reach and that have the candidate's model, from a promotion that was taken back."""
    candidate, taps = course.candidate, course.seen.taps
    if not course.scene.separate or candidate.digest == course.scene.stable.digest:
        return ()
    return tuple(
        p for p in course.ready if not p.canary and p.uid in taps and arm_is(taps[p.uid].arms.get("stable"), candidate)
    )


def unheard(course: Course) -> list[str]:
    """The arms whose pods users reach and whose taps say nothing, in words: nothing is known of them."""
    if not course.scene.separate:
        return []
    found = []
    for canary, whose in ((False, "stable"), (True, "the candidate")):
        pods = [p for p in course.ready if p.canary is canary]
        if pods and not any(p.uid in course.seen.taps for p in pods):
            said = course.seen.silent.get(pods[0].uid, "no answer")
            found.append(f"no tap of {whose} answers ({said})")
    return found


def crashes(course: Course) -> bool:
    """Whether a pod of the candidate starts again and again."""
    waits = [p.waiting for p in course.seen.pods if p.canary and not p.deleting]
    return any(why is not None and why[0] == "CrashLoopBackOff" for why in waits)


def hosts(course: Course) -> tuple[ServingPod, ...]:
    """The pods that must have the candidate before anybody meets it; none while one of them is not ready."""
    if not course.scene.separate:
        return course.ready
    own = tuple(p for p in course.seen.pods if p.canary and not p.deleting and not p.over)
    stable = any(not p.canary for p in course.ready)
    return own if stable and all(p.ready for p in own) else ()


def follows(course: Course) -> bool:
    """Whether the route is written as it must be, and its Gateways follow it; in mode Adapter there is none."""
    return not course.scene.separate or not complaint(course)


def complaint(course: Course) -> str:
    """What is not as it must be of the route, in words; "" if nothing."""
    seen = course.seen
    if seen.route is None or route(course.scene.serving, share(course), seen) is not None:
        return "The HTTPRoute is not written yet as it must be."
    return f"The HTTPRoute is not followed: {seen.route.refused}" if seen.route.refused else ""


def own_pods(course: Course) -> ServingTemplate:
    """What the candidate's own pods are made from."""
    spec = course.draft.facts.spec
    return template(course.scene, course.candidate, spec.artifacts, (spec.base_model, ""), canary=True)
