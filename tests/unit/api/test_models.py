"""The models: defaults, the two examples, and reading what another version wrote."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from retune.api import (
    Condition,
    FineTuneJobSpec,
    FineTuneJobStatus,
    FineTuneRunStatus,
    JobPhase,
    Notification,
    RunPhase,
)

CHECKOUT = Path(__file__).resolve().parents[3]


def example(name: str) -> dict[str, Any]:
    text = (CHECKOUT / "examples" / f"{name}.yaml").read_text()
    return yaml.safe_load(text.replace(" on:", ' "on":'))["spec"]


def test_minimal_gets_the_defaults_of_the_design() -> None:
    spec = FineTuneJobSpec.model_validate(example("minimal"))
    assert (spec.training.epochs, spec.training.max_steps) == (3, None)
    assert (spec.method.type, spec.method.lora.rank, spec.method.lora.alpha) == ("LoRA", 16, 32)
    assert spec.method.lora.target_modules == ("all-linear",)
    assert (spec.gates.data.min_examples, spec.gates.baseline.good_enough) == (500, 0.9)
    assert (spec.triggers.on_change, spec.triggers.cooldown) == (True, "24h")
    assert spec.triggers.halt_after_fruitless_runs == 3
    assert (spec.history.succeeded, spec.history.unsuccessful) == (5, 3)
    assert spec.serving is not None
    assert (spec.serving.mode, spec.serving.replicas) == ("Adapter", None)
    assert spec.rollout is None
    assert spec.budget is None


def test_a_bare_rollout_has_the_steps_of_the_design() -> None:
    spec = FineTuneJobSpec.model_validate(example("minimal") | {"rollout": {}})
    assert spec.rollout is not None
    assert [(step.weight, step.hold) for step in spec.rollout.steps] == [(10, "10m"), (25, "10m"), (50, "10m")]
    assert (spec.rollout.bake, spec.rollout.bake_weight, spec.rollout.timeout) == ("1h", 90, "24h")
    assert (spec.rollout.confidence, spec.rollout.promote_confidence) == (0.99, 0.95)


@pytest.mark.parametrize("name", ["minimal", "full"])
def test_examples_survive_writing_and_reading(name: str) -> None:
    spec = FineTuneJobSpec.model_validate(example(name))
    written = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert FineTuneJobSpec.model_validate(written) == spec


def test_full_is_written_as_it_was_read() -> None:
    def within(part: Any, whole: Any, path: str) -> None:
        match part:
            case dict():
                for key, value in part.items():
                    within(value, whole[key], f"{path}.{key}")
            case list():
                for index, value in enumerate(part):
                    within(value, whole[index], f"{path}[{index}]")
            case _:
                assert part == whole, path

    spec = example("full")
    within(spec, FineTuneJobSpec.model_validate(spec).model_dump(mode="json", by_alias=True), "spec")


def test_full_sets_every_field_of_the_spec() -> None:
    written = FineTuneJobSpec.model_validate(example("full")).model_dump(mode="json", by_alias=True)
    assert set(written) == set(example("full"))


def test_a_spec_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="modle"):
        FineTuneJobSpec.model_validate(example("minimal") | {"modle": {}})


def test_a_spec_never_changes() -> None:
    spec = FineTuneJobSpec.model_validate(example("minimal"))
    with pytest.raises(ValidationError, match="frozen"):
        spec.suspend = True  # type: ignore[misc]


def test_an_older_operator_reads_a_newer_status() -> None:
    status = FineTuneRunStatus.model_validate(
        {"phase": "Training", "mood": "good", "progress": {"step": 1, "epoch": 2}}
    )
    assert status.phase is RunPhase.TRAINING
    assert FineTuneJobStatus.model_validate({"phase": "Idle", "mood": "good"}).phase is JobPhase.IDLE
    assert FineTuneRunStatus.model_validate({}).phase is None


@pytest.mark.parametrize("key", ["on", "true"])
def test_notification_events_by_either_key(key: str) -> None:
    notification = Notification.model_validate({"channel": "slack", key: ["Halted"]})
    assert notification.model_dump(mode="json", by_alias=True) == {"channel": "slack", "on": ["Halted"]}


def test_what_the_loop_keeps_of_a_job_survives_writing_and_reading() -> None:
    told = {
        "calendar": {"of": "0 3 * * 1 Europe/Berlin", "since": "2026-03-01T12:00:00Z"},
        "examples": {"counted": 10_000, "corrections": 20, "trained": 9_500, "at": "2026-03-01T12:00:00Z"},
        "started": ["2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z"],
        "recovery": {
            "run": "triage-2-7f2a",
            "noticedAt": "2026-03-01T12:00:00Z",
            "promotedAt": "2026-03-01T15:00:00Z",
            "seconds": 10_800,
            "cost": "7.75",
        },
        "drift": [
            {"name": "mix", "state": "Firing", "threshold": 0.2, "eValue": 812.5, "message": "the betting detector"}
        ],
        "told": ["uid/Promoted/2"],
    }
    status = FineTuneJobStatus.model_validate(told)
    assert status.drift[0].e_value == 812.5
    assert status.model_dump(mode="json", by_alias=True, exclude_defaults=True) == told


def test_times_are_written_in_utc_and_whole_seconds() -> None:
    moment = datetime(2027, 1, 1, 1, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    condition = Condition(type="Ready", status="True", reason="Serves", last_transition_time=moment)
    assert condition.model_dump(mode="json", by_alias=True)["lastTransitionTime"] == "2027-01-01T00:00:00Z"


def test_phases_that_end_a_run() -> None:
    assert [phase.value for phase in RunPhase if phase.is_terminal] == [
        "Promoted", "Declined", "Rejected", "RolledBack", "Inconclusive", "Failed", "Cancelled",
    ]  # fmt: skip


def test_what_yaml_makes_of_a_bare_off() -> None:
    spec = FineTuneJobSpec.model_validate(example("minimal") | {"gates": {"data": {"mode": False}}})
    assert spec.gates.data.mode == "Off"
    assert spec.model_dump(mode="json")["gates"]["data"]["mode"] == "Off"
    with pytest.raises(ValidationError):
        FineTuneJobSpec.model_validate(example("minimal") | {"gates": {"data": {"mode": True}}})
