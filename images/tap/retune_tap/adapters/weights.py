"""Whether a folder holds an adapter that the server can load, read from its files' headers. No library for tensors."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune_tap.arms import AdapterError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MOST_HEADER = 16 << 20
CHUNK = 1 << 20


@dataclass(frozen=True)
class Adapter:
    """What was found: the largest rank, and whether every lora_B is zero, so that it changes nothing."""

    rank: int
    empty: bool


def read(folder: Path, most_rank: int | None = None) -> Adapter:
    """Read an adapter's configuration and the shapes of its weights.

    Raises:
        AdapterError: it is none, or not one that the server can load.
    """
    config = _config(folder)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise AdapterError(f"{CONFIG} says peft_type {kind!r}; the server loads LORA adapters only")
    if config.get("use_dora"):
        raise AdapterError(f"{CONFIG} says use_dora, which the server cannot load; train with spec.method.type LoRA")
    tensors, start = _header(folder / WEIGHTS)
    low = {name: entry for name, entry in tensors.items() if ".lora_A." in name or ".lora_embedding_A" in name}
    high = {name: entry for name, entry in tensors.items() if ".lora_B." in name or ".lora_embedding_B" in name}
    if not low or len(low) != len(high):
        raise AdapterError(f"{WEIGHTS} holds {len(low)} lora_A and {len(high)} lora_B: it is no LoRA adapter")
    rank = max(entry["shape"][0] for entry in low.values())
    if most_rank is not None and rank > most_rank:
        raise AdapterError(f"its rank is {rank}, and the server was started for at most {most_rank} (--max-lora-rank)")
    return Adapter(
        rank=rank, empty=_all_zero(folder / WEIGHTS, start, [entry["data_offsets"] for entry in high.values()])
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except FileNotFoundError:
        raise AdapterError(f"there is no {CONFIG}: it is no adapter") from None
    except (ValueError, RecursionError):
        raise AdapterError(f"{CONFIG} is not JSON") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{CONFIG} is not a JSON object")
    return config


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The tensors of a safetensors file (8 bytes of length, a JSON header, data), and where the data starts."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            raw = file.read(length) if length <= MOST_HEADER else b""
        header = json.loads(raw)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        data = path.stat().st_size - 8 - length
        for entry in tensors.values():
            begin, end = entry["data_offsets"]
            if not (0 <= begin <= end <= data and len(entry["shape"]) == 2 and min(entry["shape"]) > 0):
                raise AdapterError(f"{WEIGHTS} is damaged")
    except FileNotFoundError:
        raise AdapterError(f"there is no {WEIGHTS}: it is no adapter") from None
    except (struct.error, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise AdapterError(f"{WEIGHTS} is damaged") from None
    return tensors, 8 + length


def _all_zero(path: Path, start: int, ranges: list[list[int]]) -> bool:
    with path.open("rb") as file:
        for begin, end in ranges:
            file.seek(start + begin)
            left = end - begin
            while left > 0:
                chunk = file.read(min(CHUNK, left))
                # 0x80 is the sign of a minus zero; a number made of such bytes alone is too small to change an answer.
                if not chunk or chunk.strip(b"\0\x80"):
                    return False
                left -= len(chunk)
    return True
