"""Building images without Docker: buildah, with a store of its own in the cache."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from hack.cluster.process import logged, output, succeeds
from hack.cluster.settings import BUILDAH, LOG

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
TEMPORARY = BUILDAH / "tmp"
"""Also where buildah keeps `RUN --mount=type=cache` folders."""


def _buildah(*arguments: str | Path) -> list[str | Path]:
    return ["buildah", "--root", BUILDAH / "store", "--runroot", BUILDAH / "run", *arguments]


def _environment() -> dict[str, str]:
    return {"TMPDIR": str(TEMPORARY)}


def tidy() -> None:
    """Removes what an interrupted build left: containers in mid-build and temporary folders."""
    TEMPORARY.mkdir(parents=True, exist_ok=True)
    output(_buildah("rm", "--all"))
    for path in TEMPORARY.iterdir():
        if not path.name.startswith("buildah-cache"):
            shutil.rmtree(path, ignore_errors=True)


def exists(reference: str) -> bool:
    """Whether the store has an image of this name."""
    return succeeds(_buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", reference))


def pull(archive: Path, reference: str, named: str) -> None:
    """Takes a docker-archive into the store, and gives it a second name."""
    logged(_buildah("pull", f"docker-archive:{archive}"), LOG / "buildah-pull.log", env=_environment())
    output(_buildah("tag", reference, named))


def build(dockerfile: Path, context: Path, arguments: Sequence[str], reference: str, log: Path) -> None:
    """Builds an image under a name.

    Every stage before the last gets a name too, for `remove` would prune its layers otherwise, and the next build would
    begin from nothing.
    """
    stages = re.findall(r"^FROM .* AS (\S+)", dockerfile.read_text(), re.MULTILINE)
    for stage in stages:
        _build(dockerfile, context, arguments, ["--target", stage, "--tag", f"{reference}-{stage}"], log)
    _build(dockerfile, context, arguments, ["--tag", reference], log)


def _build(dockerfile: Path, context: Path, arguments: Sequence[str], what: Sequence[str], log: Path) -> None:
    command = _buildah("build", "--layers", "--isolation", "chroot", "--network", "host", "--pull-never")
    command += [f"--build-arg={argument}" for argument in arguments]
    command += [*_certificates(), "--file", dockerfile, *what, context]
    logged(["nice", *command], log, env=_environment())


def references(name: str) -> set[str]:
    """All names in the store that belong to one image: its tags."""
    listing = output(_buildah("images", "--format", "{{.Name}}:{{.Tag}}"))
    return {reference for reference in listing.split() if reference.rpartition(":")[0] == name}


def remove(references_: set[str]) -> None:
    """Removes names, and then the layers that nothing uses any more."""
    if references_:
        output(_buildah("rmi", *sorted(references_)))
        succeeds(_buildah("rmi", "--prune"), seconds=120)


def push(reference: str, registry: str, name: str) -> None:
    """Sends an image to a registry on this machine, without the layers that it has already."""
    command = _buildah("push", "--tls-verify=false", "--disable-compression", reference, f"docker://{registry}/{name}")
    logged(command, LOG / f"push-{name.partition(':')[0]}.log", env=_environment())


def _certificates() -> list[str]:
    """This machine's own certificate authorities, where it has such: needed while building, no part of the image."""
    bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    if not bundle or not Path(bundle).is_file():
        return []
    pip, uv = TEMPORARY.parent / "pip.conf", TEMPORARY.parent / "uv.toml"
    pip.write_text(f"[global]\ncert = {CA_BUNDLE}\n")
    uv.write_text("system-certs = true\n")
    mounts = {Path(bundle).resolve(): CA_BUNDLE, pip: "/etc/pip.conf", uv: "/etc/uv/uv.toml"}
    return [part for source, target in mounts.items() for part in ("--volume", f"{source}:{target}:ro")]
