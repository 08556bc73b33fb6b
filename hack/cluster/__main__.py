"""`python3 hack/cluster COMMAND`: the local cluster, its images, and what runs in it. `--help` lists the commands."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from hack.cluster.commands import main  # noqa: E402 — found only through the line above

if __name__ == "__main__":
    sys.exit(main())
