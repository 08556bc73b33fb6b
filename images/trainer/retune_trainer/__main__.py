"""`python -m retune_trainer preflight|train|report|watch`: wires a pod together, turns every end into an exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from retune_stores import credentials
from retune_stores.credentials import Credentials, Role, Scrubber
from retune_stores.errors import InputError, PodError
from retune_trainer import config as configuration
from retune_trainer import cpus, log, result
from retune_trainer.config import RunConfig
from retune_trainer.stop import Stop

USAGE = "usage: python -m retune_trainer preflight|train|report|watch"


def _preflight(config: RunConfig, keys: dict[Role, Credentials], work: Path, stop: Stop) -> result.Result:
    from retune_trainer import preflight

    del stop
    return preflight.run(config, keys, work)


def _train(config: RunConfig, keys: dict[Role, Credentials], work: Path, stop: Stop) -> result.Result:
    from retune_trainer import progress, train

    # Before torch is imported: OpenMP reads both once. Threads that spin while they wait take the core from the very
    # thread they wait for as soon as a pod has neighbours: measured beside two others, 17 tokens/s against 115.
    os.environ["OMP_NUM_THREADS"] = str(cpus.available())
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    state = progress.Progress(config.attempt)
    server = progress.Server(state, int(os.environ.get("RETUNE_PORT", str(progress.PORT))))
    try:
        return train.run(config, keys, work, state, stop)
    finally:
        server.close()


def _report(config: RunConfig, keys: dict[Role, Credentials], work: Path, stop: Stop) -> result.Result:
    from retune_trainer.reporting import write
    from retune_trainer.tracking import track

    del stop
    written = write.run(config, keys)
    return {**written, **track.run(config, keys, work)}


def _watch(config: RunConfig, keys: dict[Role, Credentials], work: Path, stop: Stop) -> result.Result:
    from retune_trainer import watching

    del stop
    return watching.run(config, keys, work)


COMMANDS = {"preflight": _preflight, "train": _train, "report": _report, "watch": _watch}


def _hide_trackers() -> None:
    """Only `retune_trainer.tracking`, a process of its own, has them: TRL would load each that it finds."""
    for name in ("mlflow", "wandb"):
        sys.modules[name] = None  # type: ignore[assignment]


def _settle_hub(config: RunConfig) -> None:
    """Only a run that names the hub may speak to it."""
    if any(uri.startswith("hf://") for uri in config.uris):
        os.environ.pop("HF_HUB_OFFLINE", None)
    else:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _out_of_memory(error: BaseException) -> bool:
    # torch's own class cannot be named here: preflight does without torch.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code."""
    keys = credentials.take(os.environ)
    scrubber = Scrubber(keys.values())
    log.set_up(scrubber)
    _hide_trackers()
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        log.say(USAGE)
        return 2
    stop = Stop()
    stop.install()
    code = 0
    try:
        config = configuration.load(os.environ)
        _settle_hub(config)
        work = Path(os.environ.get("RETUNE_WORK", "/work"))
        outcome = COMMANDS[arguments[0]](config, keys, work, stop)
    except PodError as error:
        code, outcome = error.exit_code, result.failed(error)
        log.say("ended", reason=error.reason, field=error.field, detail=error.message, exitCode=code)
    except Exception as error:
        if _out_of_memory(error):
            message = (
                "the device's memory does not suffice for one example at a time; lower spec.training.maxLength, "
                "ask for more memory, or set spec.method.type to QLoRA"
            )
            end = InputError("OutOfMemory", "spec.training.maxLength", message)
            code, outcome = end.exit_code, result.failed(end)
        else:
            code, outcome = 1, result.crashed(error)
        logging.getLogger("retune").exception("ended")
    result.write(outcome, scrubber, os.environ)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
