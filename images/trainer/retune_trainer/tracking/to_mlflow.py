"""One run in MLflow, found by the tag `retune.dev/run-uid`: telling it twice changes nothing.

The only module that knows MLflow, and it knows the client alone (mlflow-skinny).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient  # type: ignore[import-not-found]
from mlflow.entities import (  # type: ignore[import-not-found]
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    RunTag,
)
from mlflow.entities.model_registry import ModelVersion  # type: ignore[import-not-found]
from mlflow.exceptions import MlflowException  # type: ignore[import-not-found]

from retune_trainer.tracking.content import PREFIX, Content, Version

UID, DIGEST, JOB, NUMBER = (f"{PREFIX}{name}" for name in ("run-uid", "digest", "job-uid", "run-number"))
STABLE, PREVIOUS = "stable", "previous"
AT_ONCE = 1000  # numbers that the server takes in one request
LONGEST_DIGEST = 36
# Where a client can write; anything else is a folder of the server's own.
STORAGE = frozenset({"mlflow-artifacts", "http", "https", "s3"})
ENDS = {"Failed": "FAILED", "Cancelled": "KILLED"}


def tell(uri: str, experiment: str, content: Content, files: list[Path]) -> dict[str, str]:
    """Have the server know of the run; `files` become its artifacts if it keeps any.

    Raises:
        MlflowException: the server does not answer, or does not want it.
    """
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    at = _experiment(client, experiment)
    run = _run(client, at, content)
    _numbers(client, run, content)
    client.log_inputs(run, [_input(one.name, one.context, one.uri, one.digest) for one in content.inputs])
    if content.version is not None:
        _register(client, run, content, content.version)
    trouble = _files(client, run, files)
    client.set_terminated(run, ENDS.get(content.phase, "FINISHED"), content.ended)
    told = {"url": f"{uri.rstrip('/')}/#/experiments/{at}/runs/{run}"}
    return {**told, "error": trouble} if trouble else told


def _experiment(client: MlflowClient, name: str) -> str:
    for last in (False, True):
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:  # another run was quicker
            if last or error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    raise AssertionError  # not reached


def _run(client: MlflowClient, experiment: str, content: Content) -> str:
    found = client.search_runs([experiment], f"tags.`{UID}` = '{content.uid}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    made = client.create_run(experiment, content.started, {UID: content.uid}, content.name)
    return str(made.info.run_id)


def _numbers(client: MlflowClient, run: str, content: Content) -> None:
    # A number with the same name, time, step and value is one number to the server, however often it is sent.
    time = content.ended or content.started or 0
    metrics = [Metric(name, value, time, 0) for name, value in content.metrics.items()]
    metrics += [Metric(name, value, time, p.step) for p in content.curve for name, value in p.metrics.items()]
    tags = [RunTag(name, value) for name, value in {**content.tags, "mlflow.note.content": content.summary}.items()]
    params = [Param(name, str(value)) for name, value in content.params.items()]
    client.log_batch(run, metrics[: AT_ONCE - len(params) - len(tags)], params, tags)
    for start in range(AT_ONCE - len(params) - len(tags), len(metrics), AT_ONCE):
        client.log_batch(run, metrics[start : start + AT_ONCE])


def _input(name: str, context: str, uri: str, digest: str) -> DatasetInput:
    short = digest.removeprefix("sha256:")[:LONGEST_DIGEST]
    dataset = Dataset(name, short, "uri", uri, profile=f'{{"digest": "{digest}"}}')
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def _register(client: MlflowClient, run: str, content: Content, version: Version) -> None:
    """A version for this run, once; `stable` goes to it unless a later run of the job has it already."""
    try:
        client.create_registered_model(version.name, {JOB: content.job_uid})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = list(client.search_model_versions(f"name='{version.name}'"))
    ours = next((one for one in known if one.tags.get(UID) == content.uid), None)
    if ours is None:
        tags = {UID: content.uid, DIGEST: version.digest, JOB: content.job_uid, NUMBER: str(content.number)}
        ours = client.create_model_version(version.name, version.uri, run, {**tags, f"{PREFIX}run": content.name})
    aliases = client.get_registered_model(version.name).aliases
    holder = next((one for one in known if str(one.version) == str(aliases.get(STABLE))), None)
    if holder is not None and _later(holder, content):
        return
    before = [one for one in known if one.tags.get(DIGEST) == version.before and one.version != ours.version]
    if version.before and before:
        client.set_registered_model_alias(version.name, PREVIOUS, max(before, key=lambda one: int(one.version)).version)
    elif PREVIOUS in aliases:  # what served before was never told: no other version may pass for it
        client.delete_registered_model_alias(version.name, PREVIOUS)
    client.set_registered_model_alias(version.name, STABLE, ours.version)


def _later(holder: ModelVersion, content: Content) -> bool:
    number = holder.tags.get(NUMBER, "")
    return holder.tags.get(JOB) == content.job_uid and number.isdigit() and int(number) > content.number


def _files(client: MlflowClient, run: str, files: list[Path]) -> str:
    """Bring the report there; why not, if it cannot be done."""
    place = urlsplit(client.get_run(run).info.artifact_uri)
    if place.scheme not in STORAGE:
        return f"the server keeps no artifacts for its clients ({place.scheme or 'file'}), so the report is not there"
    try:
        for file in files:
            client.log_artifact(run, str(file))
    except Exception as error:  # noqa: BLE001 - each storage has errors of its own, and the run is told without it
        return f"the report could not be stored there: {error}"
    return ""
