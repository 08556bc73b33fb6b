"""The administrator's channels: files of a mounted Secret, each named as a channel, with Apprise URLs, one a line.

They are read when they are needed, so a change of the Secret counts as soon as the kubelet has brought it. URLs hold
credentials: nothing here logs them, and only `receivers` gets them.
"""

from pathlib import Path

LARGEST = 65_536  # characters of one channel


class Channels:
    """The channels in a folder; "" is no folder, and so no channels."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None

    def names(self) -> frozenset[str]:
        """Which there are. What the kubelet keeps beside them begins with a dot."""
        if self._folder is None:
            return frozenset()
        try:
            return frozenset(entry.name for entry in self._folder.iterdir() if not entry.name.startswith("."))
        except OSError:  # the Secret is not there (any more)
            return frozenset()

    def urls(self, name: str) -> tuple[str, ...] | None:
        """Where channel `name` leads to; None: there is no such channel. Lines that begin with # are remarks."""
        if self._folder is None or name not in self.names():
            return None
        try:
            with (self._folder / name).open(encoding="utf-8", errors="replace") as file:
                lines = file.read(LARGEST).splitlines()
        except OSError:
            return None
        found = (line.strip() for line in lines)
        return tuple(dict.fromkeys(line for line in found if line and not line.startswith("#")))
