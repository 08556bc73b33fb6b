"""Presidio's recognizers, without a model and without the network. The only module that knows Presidio and spaCy."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import spacy
import tldextract
from phonenumbers import PhoneMetadata
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
# It speaks of every text.
logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)


class Words(NlpEngine):
    """Splits a text into words, which Presidio looks through for words such as "passport"; knows no entities."""

    def __init__(self) -> None:
        """An empty pipeline: nothing is downloaded."""
        self._spacy = spacy.blank("en")

    def load(self) -> None:
        """There is nothing to load."""

    def is_loaded(self) -> bool:
        """It always is."""
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """The words of a text."""
        words = self._spacy.make_doc(text)
        return NlpArtifacts(
            entities=[],
            tokens=words,
            tokens_indices=[word.idx for word in words],
            lemmas=[word.text for word in words],
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
        """As spaCy has it."""
        del language
        return bool(self._spacy.vocab[word].is_stop)

    def is_punct(self, word: str, language: str) -> bool:
        """As spaCy has it."""
        del language
        return bool(self._spacy.vocab[word].is_punct)

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
