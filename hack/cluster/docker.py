"""Building images with Docker."""

from collections.abc import Sequence
from pathlib import Path

from hack.cluster.process import logged, output, succeeds


def engine() -> bool:
    """Whether there is a Docker engine that answers; a client alone is no use."""
    return succeeds(["docker", "info"], seconds=20)


def exists(reference: str) -> bool:
    """Whether the engine has an image of this name."""
    return succeeds(["docker", "image", "inspect", reference])


def build(dockerfile: Path, context: Path, arguments: Sequence[str], reference: str, log: Path) -> None:
    """Builds an image under a name."""
    given = [f"--build-arg={argument}" for argument in arguments]
    logged(["docker", "build", *given, "--file", dockerfile, "--tag", reference, context], log)


def references(name: str) -> set[str]:
    """All tags of one image."""
    return set(output(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", name]).split())


def remove(references_: set[str]) -> None:
    """Removes names, and layers that nothing uses any more."""
    if references_:
        output(["docker", "rmi", *sorted(references_)])
