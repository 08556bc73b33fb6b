"""How adapters come into the model server: fetched, checked, loaded, read back and probed."""

from __future__ import annotations

from retune_tap.adapters.loader import Loader

__all__ = ["Loader"]
