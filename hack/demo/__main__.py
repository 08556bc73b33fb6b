"""`hack/uv run python hack/demo`: trains a model on the local cluster, before your eyes. `--help` lists more."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from hack.demo.commands import main  # noqa: E402 — found only through the line above

if __name__ == "__main__":
    sys.exit(main())
