"""`hack/uv run python hack/load`: users who ask a served model, at a steady rate, and object to what is wrong."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from hack.load.commands import main  # noqa: E402 — found only through the line above

if __name__ == "__main__":
    sys.exit(main())
