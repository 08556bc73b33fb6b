"""`python -m hack.dashboards` writes the chart's dashboards from code; with `--check` it only says which differ."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from hack.dashboards import files  # noqa: E402 - found only through the line above


def main(arguments: list[str]) -> int:
    """1 if `--check` found a difference, 2 for arguments that it does not know."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m hack.dashboards [--check]", file=sys.stderr)
        return 2
    differ = files.stale() if arguments else files.write()
    for name in differ:
        print(f"charts/retune/dashboards/{name} {'differs: run python -m hack.dashboards' if arguments else 'written'}")
    return 1 if arguments and differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
