"""`python -m retune_trainer.tracking FOLDER`: tells one place of one run, in a process of its own.

Reads `FOLDER/order.json` and writes `FOLDER/told.json`. Whatever the place's library does, it is bounded by the life
of this process, and holds credentials that no other has.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from retune_trainer.addresses import ForbiddenAddressError
from retune_trainer.config import Mlflow, Wandb
from retune_trainer.tracking.content import Content
from retune_trainer.tracking.guarded import check, guard

LONGEST = 400  # characters of an error


class Order(BaseModel):
    """Whom to tell of what."""

    place: Literal["mlflow", "wandb"]
    spec: dict[str, Any]
    content: Content
    files: list[Path] = []


def told(order: Order, folder: Path) -> dict[str, str]:
    """Tell it; where the run is then, or why it is not there."""
    field = f"spec.tracking.{order.place}"
    try:
        return _tell(order, folder)
    except Exception as error:  # noqa: BLE001 - each library has errors of its own; the report's pod lives on
        return {"error": _reason(field, error)}


def _tell(order: Order, folder: Path) -> dict[str, str]:
    guard()
    if order.place == "mlflow":
        from retune_trainer.tracking import to_mlflow

        server = Mlflow.model_validate(order.spec)
        return to_mlflow.tell(server.uri, server.experiment, order.content, order.files)
    from retune_trainer.tracking import to_wandb

    if "WANDB_BASE_URL" in os.environ:
        check(os.environ["WANDB_BASE_URL"])
    online = "WANDB_API_KEY" in os.environ
    return to_wandb.tell(Wandb.model_validate(order.spec).project, order.content, folder, online=online)


def _reason(field: str, error: BaseException) -> str:
    """One line that names the field and says what was wrong."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ForbiddenAddressError):
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(cause or error).split())
    if cause is None and re.search(r"error code 40[13]\b|UNAUTHENTICATED|PERMISSION_DENIED", text):
        return f"{field}.secretRef: the server refuses these credentials: {text}"[:LONGEST]
    return f"{field}: {text or type(error).__name__}"[:LONGEST]


def main(folder: Path) -> None:
    """Carry out the order in `folder`."""
    order = Order.model_validate_json((folder / "order.json").read_bytes())
    answer = folder / "told.json"
    draft = answer.with_suffix(".part")
    draft.write_text(json.dumps(told(order, folder)))
    draft.replace(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
