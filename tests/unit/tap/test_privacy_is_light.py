"""The rules for personal data are loaded where they are used, and come without models of language."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from retune_stores.privacy.absent import without


def loaded(code: str, *names: str) -> list[bool]:
    """Which of these modules a fresh process has after some code."""
    ask = f"{code}\nimport sys\nprint(*(name in sys.modules for name in {names!r}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.check_output([sys.executable, "-c", ask], env=environment, text=True)
    return [word == "True" for word in found.split()]


def test_a_tap_that_serves_has_loaded_none_of_it():
    assert loaded("import retune_tap.serve", "presidio_analyzer", "faker", "phonenumbers") == [False] * 3


def test_finding_personal_data_needs_no_spacy_and_leaves_nothing_in_its_place():
    code = "from retune_stores.privacy import KNOWN, Finder\nassert Finder(KNOWN).find('mail a@example.com')"
    assert loaded(code, "presidio_analyzer", "spacy", "spacy.tokens", "thinc", "numpy") == [True, *[False] * 4]


def test_what_is_absent_for_an_import_can_be_imported_afterwards():
    code = "from retune_stores.privacy import recognizers\nimport spacy\nassert spacy.blank('en').make_doc('a b')"
    assert loaded(code, "spacy.tokens") == [True]


def test_a_library_that_is_loaded_already_stays():
    with without("pytest", "not_installed_anywhere"):
        import not_installed_anywhere.inner

        same = importlib.import_module("pytest")
        assert issubclass(not_installed_anywhere.inner.Whatever, object)
    assert same is pytest
    assert "not_installed_anywhere" not in sys.modules
