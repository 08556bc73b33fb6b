"""What a watch pod does: each thing that it was asked for, whatever becomes of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError, PodError, StoreError
from retune_trainer.baseline import outbound
from retune_trainer.baseline.ask import Patience
from retune_trainer.config import RunConfig
from retune_trainer.log import say
from retune_trainer.result import Result, failed, succeeded
from retune_trainer.watching.count import count
from retune_trainer.watching.probe import PATIENCE, probe


def run(
    config: RunConfig,
    credentials: dict[Role, Credentials],
    work: Path,
    *,
    patience: Patience = PATIENCE,
    resolve: outbound.Resolve = outbound.look_up,
) -> Result:
    """`watch`: `examples` and `probe`, each null if it was not asked for or could not be had.

    If one of two could be had, the result is a success and `error` says what was wrong with the other.

    Raises:
        InputError, StoreError: nothing could be had; of two reasons the first.
        InterruptedByOrderError: SIGTERM came.
    """
    asked = config.watch
    if asked is None:
        raise InputError("ConfigInvalid", "watch", "run.json has no 'watch'; the operator writes what is to be watched")
    found: dict[str, Any] = {"examples": None, "probe": None}
    problems: list[PodError] = []
    try:
        if asked.count:
            found["examples"] = count(config, credentials, work)
    except (InputError, StoreError) as error:
        problems.append(error)
    try:
        if asked.probe is not None:
            found["probe"] = probe(config, credentials, asked.probe, work, patience=patience, resolve=resolve)
    except (InputError, StoreError) as error:
        problems.append(error)
    if problems and not any(found.values()):
        raise problems[0]
    for problem in problems:
        say("not all could be had", reason=problem.reason, field=problem.field, detail=problem.message)
    result = succeeded(watch=found)
    return result | ({"error": failed(problems[0])["error"]} if problems else {})
