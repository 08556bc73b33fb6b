"""Names of people, without a model of language: by lists of names and by the words around them.

No model that finds names can be installed from a package registry, and none is downloaded at run time. Found are:
a known given name followed by a known family name ("Anna Schmidt", "ANNA M. SCHMIDT"); capitalised words after a title
("Dr. Okafor"), after "my name is" and its like in some languages; and a known given name after "I am", in a greeting
or under a letter. Not found are names without capitals, a lone given or family name in running text, and names that
are not on the lists and not introduced. The lists are the Faker library's, some 7,000 given and 7,000 family names
of sixteen countries.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

LOCALES = (
    *("cs_CZ", "da_DK", "de_DE", "en_GB", "en_IN", "en_US", "es_ES", "fi_FI"),
    *("fr_FR", "it_IT", "nl_NL", "no_NO", "pl_PL", "pt_BR", "sv_SE", "tr_TR"),
)
MOST_WORDS = 4

# The lists are of names in Latin letters.
_CAPITAL = "".join(chr(code) for code in range(0x250) if chr(code).isupper())
_NAME = rf"[{_CAPITAL}](?:[^\W\d_]|['\u2019-])*"
# Capitalised words with single spaces between them, initials among them.
_RUN = re.compile(rf"\b{_NAME}(?:\.? {_NAME})*")
_WORD = re.compile(_NAME)
_TITLES = frozenset(
    "mr,mrs,ms,mx,miss,dr,prof,professor,herr,frau,mme,mlle,monsieur,madame,señor,señora,signor".split(",")  # noqa: SIM905
)
_GREETINGS = frozenset(["dear", "hi", "hello", "hey", "liebe", "lieber", "hallo", "bonjour", "hola", "ciao", "salut"])


def _ending(*phrases: str, then: str = r"\s") -> re.Pattern[str]:
    """Text that ends in one of some phrases."""
    return re.compile(rf"\b(?:{'|'.join(phrases)}){then}$", re.IGNORECASE)


_TITLED = _ending(*sorted(_TITLES), then=r"\.?\s")
_NAMED = _ending(
    *(r"my (?:full )?name(?: is|['\u2019]s|:)", "mein name ist", "ich hei(?:ß|ss)e"),
    *(r"je m['\u2019]appelle", "mi nombre es", "me llamo", "mi chiamo"),
)
_SPEAKING = _ending(
    *("i am", r"i['\u2019]m", "this is", r"it['\u2019]s", "ich bin", "je suis", "soy", "sono", *sorted(_GREETINGS)),
    then=r",?\s",
)
_CLOSING = _ending(
    *("regards", "sincerely", "best", "cheers", "thanks", "thank you", "yours"),
    *("gr(?:ü|ue)(?:ß|ss)en?", "cordialement", "saludos"),
    then=r"[,.!]?\s*\n\s*",
)
_MONTHS = frozenset(["april", "may", "june", "august"])
# Given names that stand alone more often for something else.
_AMBIGUOUS = frozenset(["april", "august", "chase", "christian", "german", "jordan", "june", "may", "paris", "will"])
# The longest of these phrases with what stands around it.
_BEFORE = 40


class Names(NamedTuple):
    """Known names, in small letters."""

    given: frozenset[str]
    family: frozenset[str]


@cache
def names() -> Names:
    """The lists. Read once a process."""
    given: set[str] = set()
    family: set[str] = set()
    for locale in LOCALES:
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        for attribute in dir(provider):
            into = (
                given if attribute.startswith("first_names") else family if attribute.startswith("last_names") else None
            )
            if into is not None:
                into.update(word for name in getattr(provider, attribute) for word in name.casefold().split())
    # "van", "de" and initials are parts of names, and of everything else.
    return Names(*(frozenset(name for name in names if len(name) > 2) for names in (given, family)))


def find(text: str) -> list[tuple[int, int]]:
    """Where names stand in a text, as (start, end) from left to right."""
    found = []
    for run in _RUN.finditer(text):
        words = [(word.start() + run.start(), word.end() + run.start()) for word in _WORD.finditer(run.group())]
        if len(words) > 1 or run.start():
            found += _in_run(text, words)
    return found


def _in_run(text: str, words: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    spoken = [_bare(text[start:end]) for start, end in words]
    before = text[max(0, words[0][0] - _BEFORE) : words[0][0]]
    place = 0
    while place < len(words):
        size = _at(spoken[place:], before if place == 0 else "", spoken[place - 1] if place else "")
        if size:
            found.append((words[place][0], _end(text, words[place + size - 1])))
        place += size or 1
    return found


def _at(words: Sequence[str], before: str, previous: str) -> int:
    """How many words from here on are a name, given what stands before; 0 if none is."""
    given, family = names()
    first = words[0]
    if first in _TITLES or first in _GREETINGS:
        return 0
    if previous in _TITLES or _TITLED.search(before) or _NAMED.search(before):
        return min(len(words), MOST_WORDS)
    if first not in given and not any(part in given for part in first.split("-")):
        return 0
    for size, word in enumerate(words[1:MOST_WORDS], start=2):
        if word in _MONTHS and first in _MONTHS:
            break
        if word in family or any(part in family for part in word.split("-")):
            return size
        if len(word) > 1 and word not in given:
            break
    if first in _AMBIGUOUS:
        return 0
    alone = previous in _GREETINGS or _SPEAKING.search(before) or _CLOSING.search(before)
    return 1 if alone else 0


def _bare(word: str) -> str:
    word = word.casefold().replace("\u2019", "'")
    return word.removesuffix("'s").strip("'-")


def _end(text: str, word: tuple[int, int]) -> int:
    start, end = word
    return end - 2 if text[start:end].replace("\u2019", "'").endswith("'s") else end
