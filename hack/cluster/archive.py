"""A folder as a one-layer image: the two images that no Dockerfile can make, pause and the base."""

import hashlib
import io
import json
import platform
import tarfile
import tempfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write(name: str, rootfs: Path, target: Path, entrypoint: list[str] | None = None) -> None:
    """Writes a docker-archive of everything under `rootfs`, called `name`; complete or not at all."""
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        layer = Path(work) / "layer.tar"
        with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(rootfs.iterdir()):
                tar.add(path, path.name)
        with layer.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        config = json.dumps(
            {
                "architecture": ARCHITECTURES[platform.machine()],
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "retune hack/cluster"}],
                "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"], "Entrypoint": entrypoint},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            }
        ).encode()
        config_name = hashlib.sha256(config).hexdigest() + ".json"
        manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
        unfinished = Path(work) / "image.tar"
        with tarfile.open(unfinished, "w") as tar:
            for member, data in ((config_name, config), ("manifest.json", manifest)):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            tar.add(layer, "layer.tar")
        unfinished.replace(target)
