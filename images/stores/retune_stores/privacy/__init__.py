"""Personal data in text, by the same rules for the trainer's gate and for what a tap writes of users' corrections.

Light to import: Presidio and the lists of names are loaded with the first `Finder`.
"""

from __future__ import annotations

from retune_stores.privacy.finder import KNOWN, USUAL, Finder, Found, finder

__all__ = ["KNOWN", "USUAL", "Finder", "Found", "finder"]
