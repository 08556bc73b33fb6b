"""Presidio's recognizers, without a model and without the network. The only module that knows Presidio.

Presidio imports spaCy for its models of language, and uses none here: that would be 260 MB on disk, three
seconds and 60 MB of memory. So Presidio is imported without, and an expression splits a text into words.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import tldextract
from phonenumbers import PhoneMetadata

from retune_stores.privacy.absent import without

with without("spacy", "thinc"):
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
    from presidio_analyzer.predefined_recognizers import EmailRecognizer, PhoneRecognizer

NAMES = {
    "AU_TFN": "AuTfnRecognizer",
    "CREDIT_CARD": "CreditCardRecognizer",
    "CRYPTO": "CryptoRecognizer",
    "DATE_TIME": "DateRecognizer",
    "DE_TAX_ID": "DeTaxIdRecognizer",
    "ES_NIE": "EsNieRecognizer",
    "ES_NIF": "EsNifRecognizer",
    "FI_PERSONAL_IDENTITY_CODE": "FiPersonalIdentityCodeRecognizer",
    "IBAN_CODE": "IbanRecognizer",
    "IN_AADHAAR": "InAadhaarRecognizer",
    "IN_PAN": "InPanRecognizer",
    "IP_ADDRESS": "IpRecognizer",
    "IT_FISCAL_CODE": "ItFiscalCodeRecognizer",
    "MAC_ADDRESS": "MacAddressRecognizer",
    "MEDICAL_LICENSE": "MedicalLicenseRecognizer",
    "PHONE_NUMBER": "PhoneRecognizer",
    "PL_PESEL": "PlPeselRecognizer",
    "SE_PERSONNUMMER": "SePersonnummerRecognizer",
    "SG_NRIC_FIN": "SgFinRecognizer",
    "UK_NHS": "NhsRecognizer",
    "UK_NINO": "UkNinoRecognizer",
    "URL": "UrlRecognizer",
    "US_BANK_NUMBER": "UsBankRecognizer",
    "US_DRIVER_LICENSE": "UsLicenseRecognizer",
    "US_ITIN": "UsItinRecognizer",
    "US_PASSPORT": "UsPassportRecognizer",
    "US_SSN": "UsSsnRecognizer",
}
_WORD = re.compile(r"\w+|[^\w\s]")
# Words that say nothing of what stands behind them: Presidio looks at the five others before a match.
_SAY_NOTHING = (
    "a about am an and are as at be been but by can could did do does for from had has have he her his i if in is it "
    "its just me my no not of on or our please she so that the their them then there they this to too us was we were "
    "what when which who will with would you your"
)
_STOP = frozenset(_SAY_NOTHING.split())
# It speaks of every text.
logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)


class Words(NlpEngine):
    """Splits a text into words, which Presidio looks through for words such as "passport"; knows no entities."""

    def load(self) -> None:
        """There is nothing to load."""

    def is_loaded(self) -> bool:
        """It always is."""
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """The words of a text, and each mark as one."""
        found = list(_WORD.finditer(text))
        # Of spaCy's document Presidio asks the lengths of its words.
        words: Any = [word.group() for word in found]
        return NlpArtifacts(
            entities=[],
            tokens=words,
            tokens_indices=[word.start() for word in found],
            lemmas=words,
            nlp_engine=self,
            language=language,
        )

    def process_batch(
        self, texts: Iterable[str], language: str, batch_size: int = 1, n_process: int = 1, **kwargs: object
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        """One by one."""
        del batch_size, n_process, kwargs
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:
        """Whether a word says nothing."""
        del language
        return word.lower() in _STOP

    def is_punct(self, word: str, language: str) -> bool:
        """Whether it is a mark."""
        del language
        return not word[:1].isalnum()

    def get_supported_entities(self) -> list[str]:
        """None."""
        return []

    def get_supported_languages(self) -> list[str]:
        """The language that the recognizers' words are in."""
        return ["en"]


def analyzer(kinds: Sequence[str]) -> AnalyzerEngine:
    """Presidio's engine with the recognizers of these kinds."""
    registry = RecognizerRegistry(recognizers=[], supported_languages=["en"])
    for kind in kinds:
        recognizer: Any = getattr(predefined_recognizers, NAMES[kind])
        registry.add_recognizer(recognizer(supported_language="en"))
    return AnalyzerEngine(registry=registry, nlp_engine=Words(), supported_languages=["en"])


class Mail(EmailRecognizer):
    """Presidio's recognizer of e-mail addresses, with the list of domains that tldextract brings along."""

    _offline = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    def validate_result(self, pattern_text: str) -> bool:
        """Is the domain one that there can be."""
        return bool(self._offline(pattern_text).fqdn)


@cache
def shortest_number() -> int:
    """The fewest digits that a telephone number has in any of the countries that Presidio looks for."""
    plans = [PhoneMetadata.metadata_for_region(region) for region in PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS]
    general = [plan.general_desc for plan in plans if plan is not None]
    return min(length for each in general if each is not None for length in each.possible_length if length > 0)
