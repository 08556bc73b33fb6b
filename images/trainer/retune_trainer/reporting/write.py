"""The `report` command: gathers, builds, and puts `report.json` and `report.html` into the run's folder."""

from __future__ import annotations

import os

from retune_stores import Store
from retune_stores.credentials import Credentials, Role, Scrubber
from retune_stores.errors import InputError
from retune_trainer import versions
from retune_trainer.attempts import Attempts
from retune_trainer.config import RunConfig
from retune_trainer.inputs import Sources
from retune_trainer.log import say
from retune_trainer.reporting import page
from retune_trainer.reporting.build import build
from retune_trainer.reporting.gather import gather, owner, status_of
from retune_trainer.reporting.shapes import Status
from retune_trainer.result import Result, succeeded

JSON = "report.json"
HTML = "report.html"


def run(config: RunConfig, keys: dict[Role, Credentials]) -> Result:
    """Write the report of a run that has ended.

    Raises:
        InputError: the status is not what an operator writes, or the folder is another run's.
        StoreError: the store does not answer.
    """
    status = status_of(os.environ)
    return write(config, status, Sources(config, keys).artifacts(), Scrubber(keys.values()))


def write(config: RunConfig, status: Status, store: Store, scrubber: Scrubber) -> Result:
    """Put both files into `store`; a second try writes the same again.

    Raises:
        InputError: another run of the same name has a manifest or a report there.
    """
    Attempts(config, store).finished()
    other = owner(store, JSON)
    if other is not None and other != config.run.uid:
        message = (
            f"{store.uri} already holds the report of another run of this name (uid {other}); it is not overwritten: "
            "give the job another name, or spec.artifacts.uri another path"
        )
        raise InputError("ArtifactsNotWritable", "spec.artifacts.uri", message)
    report = build(config, gather(config, status, store), versions.image())
    report = type(report).model_validate(scrubber.tree(report.model_dump(by_alias=True)))
    told = report.as_json()
    shown = page.render(report)
    store.put(JSON, told)
    store.put(HTML, shown)
    say("reported", uri=f"{store.uri}/{HTML}", bytes=len(shown))
    return succeeded(reportUri=f"{store.uri}/{HTML}")
