"""Prints what a file of wandb holds as JSON: run by a Python that has wandb, with the file as its argument.

The records are read by wandb's own protobuf classes. The frame around them is LevelDB's log format (blocks of 32 KiB,
records of checksum, length and type) after a header of seven bytes.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER, FILE_HEADER = 32 << 10, 7, 7
FULL, FIRST, LAST = 1, 2, 4


def records(raw: bytes) -> Iterator[bytes]:
    at, parts = FILE_HEADER, b""
    assert raw[:4] == b":W&B"
    while at + HEADER <= len(raw):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", raw[at : at + HEADER])
        part = raw[at + HEADER : at + HEADER + length]
        at += HEADER + length
        parts = part if kind in {FULL, FIRST} else parts + part
        if kind in {FULL, LAST}:
            yield parts


def main(path: Path) -> dict[str, Any]:
    from wandb.proto import wandb_internal_pb2 as proto

    found: dict[str, Any] = {"run": {}, "config": {}, "summary": {}, "history": []}

    def values(items: Any) -> dict[str, Any]:
        return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}

    for raw in records(path.read_bytes()):
        record = proto.Record()
        record.ParseFromString(raw)
        match record.WhichOneof("record_type"):
            case "run":
                run = record.run
                found["run"] = {"id": run.run_id, "project": run.project, "name": run.display_name, "host": run.host}
                found["run"]["tags"] = list(run.tags)
                found["config"] |= values(run.config.update)
            case "config":
                found["config"] |= values(record.config.update)
            case "summary":
                found["summary"] |= values(record.summary.update)
            case "history":
                found["history"].append(values(record.history.item))
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
