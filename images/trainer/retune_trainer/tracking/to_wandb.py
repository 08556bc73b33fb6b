"""One run in Weights & Biases: sent with an API key, else written to a file that `wandb sync` sends later.

The only module that knows wandb. A run's id is its uid, so that telling it twice makes no second one.
"""

from __future__ import annotations

from pathlib import Path

import wandb  # type: ignore[import-not-found]

from retune_trainer.tracking.content import Content


def tell(project: str, content: Content, folder: Path, *, online: bool) -> dict[str, str]:
    """Tell the project of the run, through files in `folder`; the URL, or the path of the file.

    Raises:
        wandb.errors.Error: it could not be sent.
    """
    settings = wandb.Settings(
        mode="online" if online else "offline",
        root_dir=str(folder),
        init_timeout=20,
        silent=True,
        console="off",
        # The run is what was trained elsewhere, not this pod.
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    run = wandb.init(
        project=project,
        id=content.uid,
        name=content.name,
        group=content.job,
        notes=content.summary,
        tags=[content.phase],
        config={**content.params, **content.tags, "inputs": [one.model_dump() for one in content.inputs]},
        resume="allow",
        settings=settings,
    )
    for point in content.curve:
        run.log(point.metrics, step=point.step)
    run.summary.update(content.metrics)
    url = run.url
    run.finish(exit_code=1 if content.phase == "Failed" else 0)
    if online:
        return {"url": str(url)}
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return {"file": str(file)}
