"""The dashboards as files of the chart, and whether those are as the code says."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from hack.dashboards.canary import canary
from hack.dashboards.drift import drift
from hack.dashboards.fleet import fleet
from hack.dashboards.job import job
from hack.dashboards.money import money

FOLDER = Path(__file__).resolve().parents[2] / "charts" / "retune" / "dashboards"
BOARDS = {"fleet": fleet, "job": job, "canary": canary, "money": money, "drift": drift}


def made() -> dict[str, str]:
    """JSON of every dashboard, by file name."""
    return {f"{name}.json": _text(board().build()) for name, board in BOARDS.items()}


def write() -> list[str]:
    """Write what differs; its names."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    changed = stale()
    for name, text in made().items():
        (FOLDER / name).write_text(text)
    for path in FOLDER.glob("*.json"):
        if path.name not in made():
            path.unlink()
    return changed


def stale() -> list[str]:
    """Names of files that are not as the code says, are missing, or are nobody's."""
    want, have = made(), {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    return sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))


def _text(board: object) -> str:
    plain = json.loads(JSONEncoder(sort_keys=True).encode(board))
    for number, panel in enumerate(plain["panels"], start=1):
        panel["id"] = number  # Grafana would give them, and each reload would look like a change
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
