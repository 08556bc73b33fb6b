"""`python3 hack/test [TIER…]`: the tests, quickest first; stops at the first tier that fails.

Needs nothing but Python and what hack/uv and hack/cluster bring. A cluster that was up before stays up; one that was
started here is stopped in the end, unless RETUNE_KEEP=1.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from hack.test.tiers import main  # noqa: E402 — found only through the line above

if __name__ == "__main__":
    sys.exit(main())
