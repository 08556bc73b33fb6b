"""The cache folder itself: made with a mark, so that `clean` never deletes a folder that was somebody's before."""

import shutil

from hack.cluster.process import ClusterError
from hack.cluster.settings import CACHE

MARK = CACHE / "CACHEDIR.TAG"
# The first line is what backup programs look for (bford.info/cachedir).
TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by retune/hack; `make clean` deletes this folder.\n"


def make() -> None:
    """Makes the folder, and marks it if it was not there."""
    if not CACHE.exists():
        CACHE.mkdir(parents=True)
        MARK.write_text(TEXT)


def delete() -> None:
    """Deletes it with everything in it.

    Raises:
        ClusterError: the folder was there before us.
    """
    if CACHE.exists() and not MARK.exists():
        raise ClusterError(f"{CACHE} was not made by this program, so it is left: delete what you do not need")
    shutil.rmtree(CACHE, ignore_errors=True)
