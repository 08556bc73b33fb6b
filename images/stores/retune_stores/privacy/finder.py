"""Finds personal data of some kinds in a text, and replaces it. What was found never leaves this module.

Patterns and their checks (Luhn, IBAN's checksum, telephone numbering plans) are Presidio's (`recognizers`); names of
people are found by `persons`. Nothing is downloaded.

Presidio takes a millisecond or two for a text with digits, mostly for telephone numbers. `_possible` says beforehand,
in a microsecond, which kinds a text cannot hold (no e-mail address without an @, no card number in fewer than twelve
digits), so that most texts are never shown to it; a test holds the result against that without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from retune_stores.privacy import persons

# Looked for when spec.gates.privacy.entities is empty: each has a form, or a checksum, that little else has.
USUAL = (
    "CREDIT_CARD",
    "CRYPTO",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "IT_FISCAL_CODE",
    "MEDICAL_LICENSE",
    "PERSON",
    "PHONE_NUMBER",
    "UK_NINO",
    "US_SSN",
)
# Looked for when named: dates and links are rarely personal, and the others look like any number of that length.
ON_REQUEST = (
    "AU_TFN",
    "DATE_TIME",
    "DE_TAX_ID",
    "ES_NIE",
    "ES_NIF",
    "FI_PERSONAL_IDENTITY_CODE",
    "IN_AADHAAR",
    "IN_PAN",
    "MAC_ADDRESS",
    "PL_PESEL",
    "SE_PERSONNUMMER",
    "SG_NRIC_FIN",
    "UK_NHS",
    "URL",
    "US_BANK_NUMBER",
    "US_DRIVER_LICENSE",
    "US_ITIN",
    "US_PASSPORT",
)
KNOWN = tuple(sorted({*USUAL, *ON_REQUEST}))
# Presidio's scores: below lie matches that neither a checksum nor a word beside them speaks for.
LEAST_SCORE = 0.4
# Long texts are looked at in windows: some patterns take time that grows with the square of the length. What begins in
# a window's core is seen whole if it has at most as many characters as the overlap.
CORE, OVERLAP = 4096, 256

_DIGIT = re.compile(r"\d")
# The longest address that mail can be sent to (RFC 5321, 4.5.3.1): 64 before the @, 255 behind it.
_ADDRESS = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}")
# What is in every match of a kind's patterns.
_SHAPES = {
    "CRYPTO": re.compile(r"[^\W_]{26}"),
    "IBAN_CODE": re.compile(r"[^\W\d_]{2}\d{2}"),
    # Its digits may be written as letters.
    "IT_FISCAL_CODE": re.compile(r"[^\W_]{16}"),
    "MAC_ADDRESS": re.compile("[:.-]"),
    "URL": re.compile(r"\."),
}
# Fewest digits of what each kind's patterns match; those not named need one.
_DIGITS = {
    "AU_TFN": 8,
    "CREDIT_CARD": 12,
    "DE_TAX_ID": 11,
    "ES_NIE": 7,
    "ES_NIF": 7,
    "IN_AADHAAR": 12,
    "IN_PAN": 4,
    "MEDICAL_LICENSE": 7,
    "PL_PESEL": 11,
    "SE_PERSONNUMMER": 10,
    "SG_NRIC_FIN": 7,
    "UK_NHS": 10,
    "UK_NINO": 6,
    "US_BANK_NUMBER": 8,
    "US_ITIN": 9,
    "US_SSN": 9,
}


class Found(NamedTuple):
    """Where something stands in a text, and what it is."""

    start: int
    end: int
    kind: str


@cache
def finder(wanted: tuple[str, ...]) -> Finder:
    """The finder of some kinds; made once, as it takes a second to load."""
    return Finder(wanted)


class Finder:
    """Finds personal data of some kinds."""

    def __init__(self, wanted: Sequence[str], *, sparing: bool = True) -> None:
        """With `sparing` False every text is shown to every recognizer: for tests."""
        self._patterns = [kind for kind in wanted if kind not in {"PERSON", "EMAIL_ADDRESS"}]
        self._persons = "PERSON" in wanted
        self._sparing = sparing
        # Presidio takes a second to import, and who looks for nothing does without.
        from retune_stores.privacy import recognizers

        self._analyzer = recognizers.analyzer(self._patterns)
        self._mail = recognizers.Mail() if "EMAIL_ADDRESS" in wanted else None
        self._shortest_number = recognizers.shortest_number()

    def find(self, text: str) -> list[Found]:
        """All that is found, from left to right, nothing twice."""
        found: list[Found] = []
        for start in range(0, max(1, len(text)), CORE):
            window = text[start : start + CORE + OVERLAP] if len(text) > CORE + OVERLAP else text
            found += [
                Found(each.start + start, each.end + start, each.kind)
                for each in self._in_window(window)
                if each.start < CORE or len(window) == len(text)
            ]
            if len(window) == len(text):
                break
        return list(_apart(found))

    def replaced(self, text: str) -> tuple[str, list[str]]:
        """The text with `<KIND>` in the place of each, and the kinds that were replaced."""
        found = self.find(text)
        parts, last = [], 0
        for each in found:
            parts += [text[last : each.start], f"<{each.kind}>"]
            last = each.end
        return "".join([*parts, text[last:]]), [each.kind for each in found]

    def scrub(self, text: str) -> str:
        """The text with `<KIND>` in the place of each."""
        return self.replaced(text)[0]

    def _in_window(self, text: str) -> Iterator[Found]:
        possible = self._possible(text) if self._sparing else self._patterns
        if possible:
            for result in self._analyzer.analyze(text, "en", entities=possible, score_threshold=LEAST_SCORE):
                yield Found(result.start, result.end, result.entity_type)
        if self._mail is not None and "@" in text:
            for address in _ADDRESS.finditer(text):
                for result in self._mail.analyze(address.group(), ["EMAIL_ADDRESS"], None) or ():
                    yield Found(address.start() + result.start, address.start() + result.end, "EMAIL_ADDRESS")
        if self._persons:
            for start, end in persons.find(text):
                yield Found(start, end, "PERSON")

    def _possible(self, text: str) -> list[str]:
        """The kinds that may stand in a text."""
        digits = len(_DIGIT.findall(text))
        return [kind for kind in self._patterns if self._may_hold(text, digits, kind)]

    def _may_hold(self, text: str, digits: int, kind: str) -> bool:
        if kind == "PHONE_NUMBER":
            return digits >= self._shortest_number
        if kind == "IP_ADDRESS":
            # Of IPv6, all groups may be letters.
            return digits >= 4 or text.count(":") >= 2
        if kind in _SHAPES:
            return _SHAPES[kind].search(text) is not None
        return digits >= _DIGITS.get(kind, 1)


def _apart(found: Sequence[Found]) -> Iterator[Found]:
    """Of those that overlap, the longest; of equally long ones, the kind first in the alphabet."""
    taken: list[Found] = []
    last = -1
    # Chains of overlaps are short: each begins where nothing before reaches.
    chain: list[Found] = []
    for each in [*sorted(found), None]:
        if each is not None and each.start < last:
            chain.append(each)
            last = max(last, each.end)
            continue
        taken.clear()
        for one in sorted(chain, key=lambda one: (one.start - one.end, one.kind, one.start)):
            if all(one.end <= other.start or other.end <= one.start for other in taken):
                taken.append(one)
        yield from sorted(taken)
        if each is not None:
            chain, last = [each], each.end
