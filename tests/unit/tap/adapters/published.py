"""Adapters as a run publishes them: files in the folder of a claim, and the digest over them."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from retune_tap.arms import Arm, Kind


def config(**changes: Any) -> dict[str, Any]:
    return {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "base", **changes}


def tensors(*, rank: int = 2, value: float = 0.5) -> bytes:
    """A safetensors file with one pair of matrices; lora_B holds `value` everywhere."""
    data, header = b"", {"__metadata__": {"format": "pt"}}
    for name, shape, number in (("lora_A", [rank, 4], 1.0), ("lora_B", [4, rank], value)):
        content = struct.pack("<f", number) * (shape[0] * shape[1])
        offsets = [len(data), len(data) + len(content)]
        header[f"base_model.layers.0.{name}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        data += content
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def publish(folder: Path, files: dict[str, bytes] | None = None, **more: bytes) -> str:
    """Write an adapter's files and return their digest, as design/0002 defines it."""
    if files is None:
        files = {"adapter_config.json": json.dumps(config()).encode(), "adapter_model.safetensors": tensors()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**files, **more}.items():
        (folder / name).write_bytes(content)
    lines = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in folder.iterdir()]
    return f"sha256:{hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest()}"


def arm_of(digest: str, uri: str = "pvc://store/run/adapter/x") -> Arm:
    name = f"triage-{digest.removeprefix('sha256:')[:12]}"
    return Arm(kind=Kind.ADAPTER, name=name, run="triage-1", digest=digest, uri=uri)
