"""Which model stands behind which arm: what the arms document of a job says, at rest and in a rollout.

Pure. Both the job and its run in rollout decide by this, so that both write the same document for the same state.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from retune.api import (
    DriftBuiltin,
    FineTuneJobSpec,
    FineTuneJobStatus,
    FineTuneRunSpec,
    FineTuneRunStatus,
    Gates,
    Initial,
    MethodType,
    Rollout,
    Serving,
    ServingMode,
)
from retune.decide.arms import OVERRIDES, RATED, Arm, ArmKind, Arms, Corrections, Edge, Split
from retune.decide.draft import JobDraft
from retune.decide.facts import Meta, RunFacts
from retune.decide.readings import ArmState
from retune.decide.rollout.stages import ROLLOUT_PHASES
from retune.decide.rollout.stop_losses import edges

OPT_OUT = "x-retune-stable"  # where a job that is probed names no header


def serves(spec: FineTuneJobSpec | FineTuneRunSpec) -> bool:
    """Whether this version serves what the spec asks for."""
    return spec.serving is not None and not refused(spec)


def refused(spec: FineTuneJobSpec | FineTuneRunSpec) -> str:
    """Why a job of mode Deployment is not served, or "". What only a tap before both models can do is not to be had."""
    serving, rollout = spec.serving, spec.rollout or Rollout()
    if serving is None or serving.mode is not ServingMode.DEPLOYMENT:
        return ""
    if serving.http_route is None:
        return "spec.serving.httpRoute is missing: mode Deployment needs it; name the Gateway and the hosts."
    wrong = {
        f"spec.method.type {spec.method.type} (use Full, or mode Adapter)": spec.method.type is not MethodType.FULL,
        "spec.serving.initial Endpoint (use Base)": serving.initial is Initial.ENDPOINT,
        "spec.serving.optOutHeader (remove it)": serving.opt_out_header is not None,
        "spec.rollout.shadow (remove it)": rollout.shadow is not None,
        "spec.rollout.pilot (remove it)": rollout.pilot is not None,
        "spec.rollout.exposure (remove it)": rollout.exposure is not None,
    }
    told = "; ".join(text for text, is_wrong in wrong.items() if is_wrong)
    return f"A job of spec.serving.mode Deployment serves nothing with {told}." if told else ""


def in_rollout(runs: Iterable[RunFacts]) -> RunFacts | None:
    """The run that decides on the arms just now, if one does."""
    return next((r for r in runs if r.status.phase in ROLLOUT_PHASES and not r.meta.deleting), None)


def arm_is(state: ArmState | None, arm: Arm) -> bool:
    """Whether a tap has `arm` ready to answer."""
    return state is not None and state.state == "Ready" and state.digest == arm.digest


@dataclass(frozen=True)
class Scene:
    """What the arms of a job follow from, beside its rollout; both the job and its run in rollout know all of it."""

    meta: Meta
    job: str
    job_uid: str
    serving: Serving
    gates: Gates
    status: FineTuneJobStatus
    edges: tuple[Edge, ...]
    artifacts: str = ""
    signals: frozenset[DriftBuiltin] = frozenset()

    @property
    def separate(self) -> bool:
        """Stable and candidate have pods of their own, and a Gateway splits between them."""
        return self.serving.mode is ServingMode.DEPLOYMENT

    @property
    def model(self) -> str:
        """The public name."""
        return self.serving.model_name or self.job

    def adapter(self, run: str, digest: str, uri: str) -> Arm:
        """The arm of a trained model."""
        name = f"{self.model}-{digest.removeprefix('sha256:')[:12]}"
        return Arm(ArmKind.MODEL if self.separate else ArmKind.ADAPTER, name=name, run=run, digest=digest, uri=uri)

    @property
    def stable(self) -> Arm:
        """The promoted model; before there is one, the base or the prompted model that serves today."""
        stable = self.status.stable
        if stable is not None and stable.uri is not None:
            return self.adapter(stable.run, stable.digest, stable.uri)
        endpoint = self.gates.baseline.endpoint
        if self.serving.initial is Initial.ENDPOINT and endpoint is not None:
            return Arm(
                ArmKind.ENDPOINT, url=endpoint.url, model=endpoint.model, template=endpoint.prompt_template or ""
            )
        return Arm(ArmKind.BASE)

    @property
    def previous(self) -> tuple[Arm, ...]:
        """What served before, kept loaded to go back to."""
        previous = self.status.previous
        if previous is None or previous.uri is None or self.separate:
            return ()
        return (self.adapter(previous.run, previous.digest, previous.uri),)

    def document(self, split: Split) -> Arms:
        """The whole document."""
        return Arms(self.meta.namespace, self.job, self.job_uid, {self.model: split})

    def at_rest(self, *extra: Arm) -> Arms:
        """Nobody but stable answers; `extra` stay loaded, so that what is under way at them can end."""
        return self.document(self._split(self.stable, () if self.separate else (*self.previous, *extra)))

    def promoted(self, candidate: Arm) -> Arms:
        """The candidate is stable, and what was stable is kept to go back to."""
        old = self.stable
        return self.document(self._split(candidate, (old,) if old.kind is ArmKind.ADAPTER else ()))

    @property
    def features(self) -> bool:
        """Whether taps tell what requests look like."""
        return DriftBuiltin.PROMPT_DRIFT in self.signals

    @property
    def opt_out_header(self) -> str | None:
        """Header that keeps a request from a candidate, and out of what is counted: probes need one.

        In mode Deployment it holds at rest alone: in a rollout the Gateway splits, and does not follow it.
        """
        probed = DriftBuiltin.QUALITY_DROP in self.signals
        usual = OPT_OUT if probed and (self.serving.sticky_header or "").lower() != OPT_OUT else None
        return self.serving.opt_out_header or usual

    @property
    def corrections(self) -> Corrections | None:
        """Where what people corrected is written; None: nowhere, as on volumes, which taps cannot write to."""
        asked = self.serving.corrections
        if not asked.collect or not self.artifacts or self.artifacts.startswith("pvc://"):
            return None
        uri = f"{self.artifacts.rstrip('/')}/{self.meta.namespace}/{self.job}/corrections/"
        return Corrections(uri, self.gates.privacy.entities, asked.max_examples)

    def _split(self, stable: Arm, keep: tuple[Arm, ...]) -> Split:
        unique = {arm.digest: arm for arm in keep if arm.digest != stable.digest}
        return Split(
            stable=stable,
            keep=tuple(unique.values()),
            sticky_header=self.serving.sticky_header,
            opt_out_header=self.opt_out_header,
            edges=self.edges,
            features=self.features,
            corrections=self.corrections,
        )


def drift_edges(signals: Collection[DriftBuiltin], window: float) -> tuple[Edge, ...]:
    """What taps count for drift. `signals`: those that triggers ask for; `window`: s in which feedback counts."""
    edges = (
        (DriftBuiltin.OVERRIDE_RATE, Edge(OVERRIDES, "Overrides", window=window)),
        (DriftBuiltin.QUALITY_DROP, Edge(RATED, "Rated", window=window)),
    )
    return tuple(edge for builtin, edge in edges if builtin in signals)


def scene_of_run(facts: RunFacts) -> Scene | None:
    """From the run's snapshot; None: it does not serve."""
    spec = facts.spec
    if spec.serving is None or not serves(spec):
        return None
    window, signals = facts.policy.feedback_window, facts.signals
    return Scene(
        facts.meta,
        spec.job_ref.name,
        spec.job_ref.uid,
        spec.serving,
        spec.gates,
        facts.job,
        (*edges(spec.rollout or Rollout(), spec.evaluation, window), *drift_edges(signals, window)),
        spec.artifacts.uri,
        signals,
    )


def scene_of_job(draft: JobDraft) -> Scene | None:
    """From the job's spec as it is now, and its status as it becomes; None: it does not serve."""
    facts, spec = draft.facts, draft.facts.spec
    if spec is None or spec.serving is None or not serves(spec):
        return None
    window = facts.policy.feedback_window
    signals = frozenset(trigger.builtin for trigger in spec.triggers.drift if trigger.builtin is not None)
    return Scene(
        facts.meta,
        facts.meta.name,
        facts.meta.uid,
        spec.serving,
        spec.gates,
        draft.status,
        (*edges(spec.rollout or Rollout(), spec.evaluation, window), *drift_edges(signals, window)),
        spec.artifacts.uri if spec.artifacts is not None else facts.policy.artifacts_uri,
        signals,
    )


def candidate_arm(scene: Scene, run: str, status: FineTuneRunStatus) -> Arm | None:
    """The arm of a run's own model, once it has one."""
    artifact = status.artifact
    return scene.adapter(run, artifact.digest, artifact.uri) if artifact is not None else None
