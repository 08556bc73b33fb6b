"""The privacy gate: kinds and counts of personal data, never the data, and sets without it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.trainer.fakes import run_config
from tests.unit.trainer.measured import OFF, classes, lines, of

from retune_stores.errors import InputError
from retune_stores.privacy import persons
from retune_trainer.measuring import privacy
from retune_trainer.measuring.privacy import Finder

GATES = {"data": OFF, "leakage": OFF}
FOUND = {
    "EMAIL_ADDRESS": "write to anna.b@mail.example.com today",
    "PHONE_NUMBER": "call me at 212-555-0187 please",
    "CREDIT_CARD": "charged to 4111 1111 1111 1111 twice",
    "IBAN_CODE": "send it to DE89 3704 0044 0532 0130 00 now",
    "IP_ADDRESS": "logged in from 203.0.113.77 at night",
    "US_SSN": "my social security number is 536-22-1234",
    "UK_NINO": "national insurance AB 12 34 56 C on file",
    "MEDICAL_LICENSE": "the DEA number is AB1234563 it says",
    "CRYPTO": "paid to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa in full",
    "IT_FISCAL_CODE": "codice fiscale RSSMRA85T10A562S grazie",
    "PERSON": "ask Anna Schmidt about it",
}
USUAL = privacy.finder(privacy.USUAL)


def kinds_in(text):
    return [found.kind for found in USUAL.find(text)]


def privacy_of(tmp_path, rows, gold=None, **gate):
    return of(tmp_path, rows, gold, gates={**GATES, "privacy": gate})


class TestKinds:
    @pytest.mark.parametrize(("kind", "text"), FOUND.items())
    def test_each_usual_kind_is_found(self, kind, text):
        assert kinds_in(text) == [kind]

    def test_every_usual_kind_has_an_example_here(self):
        assert set(FOUND) == set(privacy.USUAL)

    @pytest.mark.parametrize(
        "text",
        [
            "charged to 4111 1111 1111 1112 twice",  # no Luhn
            "send it to DE89 3704 0044 0532 0130 01",  # no checksum
            "version 1.2.3 of the app, order 20240131, 14 days, 12/10 at 10:45",
            "mail me @ home or user@localhost",
            "I paid 1,000,000.50 for 3 items",
            "April May and June are months, Chase Bank is a bank",
            "Dear Customer, Hi Team, I am German",
            "<EMAIL_ADDRESS> and <PERSON> wrote to <PHONE_NUMBER>",
        ],
    )
    def test_what_only_looks_like_it_is_left(self, text):
        assert kinds_in(text) == []

    def test_every_kind_that_is_known_can_be_looked_for(self):
        assert Finder(privacy.KNOWN).find("nothing personal here") == []

    def test_a_kind_on_request_is_found_when_asked_for(self):
        assert [
            found.kind for found in Finder(["DATE_TIME", "URL"]).find("on 2024-01-31 see https://example.com/x")
        ] == [
            "DATE_TIME",
            "URL",
        ]

    def test_an_unknown_kind_is_refused_with_those_known(self, tmp_path):
        with pytest.raises(InputError) as caught:
            privacy_of(tmp_path, classes(("a", "b")), entities=["EMAIL_ADDRESS", "SHOE_SIZE"])
        assert caught.value.field == "spec.gates.privacy.entities"
        assert "'SHOE_SIZE'" in caught.value.message
        assert "IBAN_CODE" in caught.value.message

    def test_only_what_is_asked_for_is_looked_for(self, tmp_path):
        rows = classes((" ".join(FOUND.values()), "a"))
        numbers = privacy_of(tmp_path, rows, entities=["IBAN_CODE"]).measured["privacy"]
        assert numbers == {"IBAN_CODE": 1, "rows": 1, "redacted": 0}


class TestNames:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("please ask Anna Schmidt about it", "Anna Schmidt"),
            ("ANNA M. SCHMIDT called", "ANNA M. SCHMIDT"),
            ("Yesterday Jean-Pierre Martin's card was lost", "Jean-Pierre Martin"),
            ("my name is Xqzwvy Okonkwo", "Xqzwvy Okonkwo"),
            ("Ich heiße Jürgen", "Jürgen"),
            ("speak to Dr. Okafor there", "Okafor"),
            ("Mrs Xu called", "Xu"),
            ("Hi Maria, where is it", "Maria"),
            ("Hello, this is James", "James"),
            ("Thanks,\nJulia", "Julia"),
        ],
    )
    def test_names_on_the_lists_or_introduced_are_found_whole(self, text, name):
        assert [text[start:end] for start, end in persons.find(text)] == [name]

    @pytest.mark.parametrize(
        "text",
        ["May I ask", "Will it arrive", "Mark it as paid", "Apple Pay and Google Pay", "Dear Sir", "Grace period ends"],
    )
    def test_words_that_are_names_too_are_not_taken_for_people(self, text):
        assert persons.find(text) == []


class TestSparing:
    """A text is kept from Presidio only if it cannot hold what Presidio would find."""

    pieces = st.sampled_from(
        [
            *FOUND.values(),
            "::1",
            "fe80::aa",
            "dead:beef::",
            "RSSMRAURTMLARSNL",
            "1",
            "22",
            "12345",
            "030 1234",
            "a.b",
            "@",
            "x@y.io",
            "AB",
            "-",
            " ",
            "\n",
        ]
    )
    text = st.lists(st.one_of(pieces, st.text(alphabet="019aA@:.- ", max_size=8)), max_size=5).map(" ".join)

    @settings(max_examples=150, deadline=None)
    @given(text)
    def test_it_makes_no_difference(self, text):
        assert ALL_SPARING.find(text) == ALL_ASKING.find(text)

    def test_nor_for_texts_of_all_kinds_on_request(self):
        texts = [
            "nhs 943 476 5919 is mine",
            "pesel 44051401359",
            "my passport 123456789",
            "driver license A1234567",
            "mac 00:1b:44:11:3a:b7 and aabb.ccdd.eeff",
            "aa-bb-cc-dd-ee-ff",
            "tax 86 095 742 719",
            "NIF 12345678Z",
            "NIE X1234567L",
            "pan ABCDE1234F",
            "aadhaar 2341 2341 2346",
            "account number 12345678",
            "itin 912-70-1234",
            "henkilötunnus 131052-308T",
            "personnummer 811218-9876",
            "fin S1234567D",
            "tfn 876 543 210",
            "on 3 May 2024 or 2024-05-03",
            "see example.com",
        ]
        found = {kind for text in texts for *_, kind in ALL_ASKING.find(text)}
        assert len(found) >= 12
        assert [ALL_SPARING.find(text) for text in texts] == [ALL_ASKING.find(text) for text in texts]


ALL_SPARING, ALL_ASKING = Finder(privacy.KNOWN), Finder(privacy.KNOWN, sparing=False)


class TestScrubbing:
    def test_every_kind_is_replaced_by_its_name(self):
        text = " | ".join(FOUND.values())
        clean = USUAL.scrub(text)
        assert [kind for kind in FOUND if f"<{kind}>" not in clean] == []
        assert "4111" not in clean
        assert "Schmidt" not in clean

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.one_of(st.sampled_from(list(FOUND.values())), st.text(max_size=10)), max_size=5).map(" ".join))
    def test_a_scrubbed_text_is_left_as_it_is(self, text):
        clean = USUAL.scrub(text)
        assert USUAL.scrub(clean) == clean

    @pytest.mark.parametrize("at", [0, 3000, 4090, 4096, 4200, 9000])
    def test_a_long_text_is_looked_through_whole_and_nothing_is_counted_twice(self, at):
        filler = "lorem ipsum " * 1000
        text = f"{filler[:at]} {FOUND['CREDIT_CARD']} {FOUND['EMAIL_ADDRESS']} {filler}"
        assert kinds_in(text) == ["CREDIT_CARD", "EMAIL_ADDRESS"]

    def test_a_run_has_a_scrubber_for_single_texts(self):
        config = run_config(gates={"privacy": {"entities": ["EMAIL_ADDRESS"]}})
        assert privacy.scrubber(config)("a@example.com of Anna Schmidt") == "<EMAIL_ADDRESS> of Anna Schmidt"


class TestHostileTexts:
    @pytest.mark.parametrize(
        "text",
        [
            "a." * 500_000 + "@",
            "a@" * 200_000,
            "1" * 200_000,
            "1-" * 20_000,
            "(212) " * 8_000,
            "A1" * 100_000,
            "aa:" * 50_000,
            "A " * 100_000,
            "Anna " * 50_000,
            "A" * 1_000_000,
            "\ud800 a@example.com",
        ],
        ids=lambda text: ascii(text[:6]),
    )
    def test_no_text_takes_long(self, text):
        began = time.process_time()
        USUAL.find(text)
        assert time.process_time() - began < 20


class TestGate:
    def test_kinds_and_rows_are_counted_and_no_value_is_told(self, tmp_path):
        rows = classes(
            ("mail a@example.com and b@example.com", "x"),
            ("ask Anna Schmidt", "x"),
            ("nothing", "x"),
            ("c@example.com", "y"),
        )
        found = privacy_of(tmp_path, rows)
        assert found.measured["privacy"] == {"EMAIL_ADDRESS": 3, "PERSON": 1, "rows": 3, "redacted": 0}
        assert found.details["privacy"] == {
            "EMAIL_ADDRESS": {"occurrences": 3, "rows": 2},
            "PERSON": {"occurrences": 1, "rows": 1},
        }
        assert "example.com" not in json.dumps([found.measured, found.details, found.notes])
        assert (found.prepared, found.fresh) == (None, None)

    def test_what_is_trained_on_is_scrubbed_and_counted_as_it_was(self, tmp_path):
        rows = classes(("mail a@example.com", "x"), ("nothing", "x"))
        found = privacy_of(tmp_path, rows, redact=True)
        assert found.measured["privacy"] == {"EMAIL_ADDRESS": 1, "rows": 1, "redacted": 1}
        assert lines(found.prepared.file) == classes(("mail <EMAIL_ADDRESS>", "x"), ("nothing", "x"))

    def test_every_text_of_a_row_is_scrubbed_and_columns_nobody_reads_are_left_behind(self, tmp_path):
        turns = [
            ("system", "You serve Anna Schmidt."),
            ("user", "I am at 203.0.113.77"),
            ("assistant", "Mail a@example.com"),
        ]
        row = {
            "messages": [{"role": role, "content": text, "name": "Anna"} for role, text in turns],
            "notes": "call 212-555-0187",
            "lang": "en",
            "cost": 2,
        }
        gold = {"messages": [*row["messages"][1:2], {"role": "assistant", "content": "no"}], "lang": "en", "cost": 1}
        here = {"segmentField": "lang", "weightField": "cost"}
        found = of(tmp_path, [row], [gold], gates={**GATES, "privacy": {"redact": True}}, dataset=here)
        assert lines(found.prepared.file) == [
            {
                "lang": "en",
                "cost": 2,
                "messages": [
                    {"role": "system", "content": "You serve <PERSON>."},
                    {"role": "user", "content": "I am at <IP_ADDRESS>"},
                    {"role": "assistant", "content": "Mail <EMAIL_ADDRESS>"},
                ],
            }
        ]

    def test_a_gate_that_is_off_redacts_nothing(self, tmp_path):
        found = of(
            tmp_path, classes(("a@example.com", "x")), gates={**GATES, "privacy": {"mode": "Off", "redact": True}}
        )
        assert (found.measured, found.prepared) == ({}, None)


def test_nothing_is_asked_of_the_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert [found.kind for found in Finder(privacy.USUAL).find("a@mail.example.com")] == ["EMAIL_ADDRESS"]


def test_a_run_whose_gate_is_off_does_without_presidio():
    code = "import sys, retune_trainer.preflight; print('presidio_analyzer' in sys.modules, 'faker' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["False", "False"]
