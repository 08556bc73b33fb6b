"""The project's images, built when their inputs changed and brought into the cluster when they are not there."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from hack.cluster.backend import Builder, Cluster
from hack.cluster.lock import only_one
from hack.cluster.process import ClusterError
from hack.cluster.progress import say, step
from hack.cluster.recipe import Recipe, recipes
from hack.cluster.settings import CACHE, IMAGES_JSON, LOG


def ensure(cluster: Cluster, names: Sequence[str] = ()) -> dict[str, str]:
    """Builds and loads the named images (all by default) and what they are built on; returns name → reference.

    Without a running cluster the images are built only; the next call brings them in.
    """
    if not isinstance(cluster, Builder):
        return _given()
    known = recipes()
    if unknown := set(names) - set(known):
        raise ClusterError(f"no such image: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    with only_one("images"):
        base = cluster.base()
        references: dict[str, str] = {}
        for name in names or known:
            _build(cluster, known, name, base, references)
        _note(references)
        if not cluster.healthy():
            say("no cluster is running: the images are brought in once it is")
            return references
        there = cluster.loaded()
        for name, reference in references.items():
            if reference not in there:
                with step(f"bringing {name} into the cluster"):
                    cluster.load(reference)
        return references


def forget_stale(cluster: Cluster) -> None:
    """Removes tags that are not the last built ones; to be called when nothing that is installed needs them."""
    if not isinstance(cluster, Builder):
        return
    with only_one("images"):
        for reference in noted().values():
            cluster.drop(reference.rpartition(":")[0], reference)


def noted() -> dict[str, str]:
    """The images as last built: name → reference."""
    if not IMAGES_JSON.exists():
        raise ClusterError("there are no images yet: run `make images`")
    return {str(name): str(reference) for name, reference in json.loads(IMAGES_JSON.read_text()).items()}


def _build(builder: Builder, known: dict[str, Recipe], name: str, base: str, references: dict[str, str]) -> str:
    if name in references:
        return references[name]
    recipe = known[name]
    if recipe.base:
        if recipe.base not in known:
            raise ClusterError(f"{recipe.dockerfile} is built on {recipe.base}, of which there is no Dockerfile")
        base = _build(builder, known, recipe.base, base, references)
    reference = recipe.reference(base)
    if not builder.exists(reference):
        context = CACHE / "context" / name
        with step(f"building the image {name}"):
            recipe.stage(context)
            arguments = [f"BASE={base}", *recipe.arguments]
            builder.build(recipe.dockerfile, context, arguments, reference, LOG / f"image-{name}.log")
    references[name] = reference
    return reference


def _note(references: dict[str, str]) -> None:
    before = noted() if IMAGES_JSON.exists() else {}
    unfinished = IMAGES_JSON.with_suffix(".new")
    unfinished.write_text(json.dumps({**before, **references}, indent=2, sort_keys=True) + "\n")
    unfinished.replace(IMAGES_JSON)


def _given() -> dict[str, str]:
    """For a cluster of the user's own: the images it can pull, as they say."""
    source = Path(os.environ.get("RETUNE_IMAGES") or os.devnull)
    if not source.is_file():
        raise ClusterError("RETUNE_IMAGES must name a JSON file, image name → reference, that your cluster can pull")
    references = {str(name): str(reference) for name, reference in json.loads(source.read_text()).items()}
    _note(references)
    return references
