"""What an image is made of, read from its Dockerfile, and the tag that follows from it.

A Dockerfile may open with comments:

    # base: trainer                       BASE is the project's image of this name, not python:3.13-slim
    # context: ../..                      the build context, relative to the Dockerfile; its own folder by default
    # inputs: pyproject.toml operator     what of the context the build needs; everything by default
    # build-args-local: SLIM=1            build arguments for images of the local cluster only

Names in a .dockerignore beside the Dockerfile (`name`, `*.ending`, `**/name`) are left out, wherever they are.

The build sees a copy of the inputs and nothing else, so the tag, a hash over them, changes whenever the image could.
"""

import fnmatch
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.process import ClusterError
from hack.cluster.settings import IMAGE_PREFIX, ROOT

PLACES = ("images/*/Dockerfile", "hack/images/*/Dockerfile", "hack/*/Dockerfile")
SKIPPED = ("__pycache__", "*.pyc", ".git", ".venv", ".*_cache", ".dockerignore")


@dataclass(frozen=True)
class Recipe:
    """One Dockerfile with what its opening comments say."""

    name: str
    dockerfile: Path
    base: str | None
    context: Path
    inputs: tuple[str, ...]
    arguments: tuple[str, ...]
    ignored: tuple[str, ...]

    def files(self) -> Iterator[Path]:
        """Every input file, in a fixed order."""
        for entry in self.inputs:
            path = self.context / entry
            if not path.exists():
                raise ClusterError(f"{self.dockerfile} names the input {entry}, which is not in {self.context}")
            if path.is_file():
                yield path
                continue
            for folder, folders, names in os.walk(path):
                folders[:] = sorted(name for name in folders if not self._skips(name))
                yield from (Path(folder) / name for name in sorted(names) if not self._skips(name))

    def _skips(self, name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in (*SKIPPED, *self.ignored))

    def reference(self, base: str) -> str:
        """Name and tag, given what it is built on."""
        digest = hashlib.sha256(" ".join((base, *self.arguments)).encode())
        digest.update(self.dockerfile.read_bytes())
        for path in self.files():
            executable = os.access(path, os.X_OK)
            digest.update(f"\0{path.relative_to(self.context)}\0{executable}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return f"{IMAGE_PREFIX}/{self.name}:{digest.hexdigest()[:12]}"

    def stage(self, target: Path) -> None:
        """Copies the inputs to an empty folder: the build context."""
        shutil.rmtree(target, ignore_errors=True)
        for path in self.files():
            copy = target / path.relative_to(self.context)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            # The same rights whatever the umask of the checkout: the image's user must be able to read them.
            copy.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
        target.mkdir(parents=True, exist_ok=True)


def recipes() -> dict[str, Recipe]:
    """All images of the project, by the name of their Dockerfile's folder."""
    found = {}
    for place in PLACES:
        for dockerfile in sorted(ROOT.glob(place)):
            recipe = _read(dockerfile)
            found[recipe.name] = recipe
    return found


def _read(dockerfile: Path) -> Recipe:
    says = {}
    for line in dockerfile.read_text().splitlines():
        if not line.startswith("#"):
            break
        if match := re.fullmatch(r"# (base|context|inputs|build-args-local): (.+)", line):
            says[match[1]] = match[2].strip()
    ignore = dockerfile.with_name(".dockerignore")
    return Recipe(
        name=dockerfile.parent.name,
        dockerfile=dockerfile,
        base=says.get("base"),
        context=(dockerfile.parent / says.get("context", ".")).resolve(),
        inputs=tuple(says.get("inputs", ".").split()),
        arguments=tuple(says.get("build-args-local", "").split()),
        ignored=tuple(line.removeprefix("**/") for line in ignore.read_text().split()) if ignore.exists() else (),
    )
