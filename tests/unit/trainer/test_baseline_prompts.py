"""A tenant's prompt template frames the question, and can do nothing else."""

from __future__ import annotations

import time

import pytest
from tests.unit.trainer.prompted_model import measure, serve

from retune_stores.errors import InputError
from retune_trainer.baseline.prompt import FIELD, Limits, conversations, longest_answer
from retune_trainer.data import Example

GOLD = [Example("card lost\n", "card_lost"), Example('say "hi"\n', "greeting")]


def texts(template, gold=GOLD, **limits):
    return [turns[0]["content"] for turns in conversations(gold, template, Limits(**limits))]


def problem(template, gold=GOLD, **limits):
    with pytest.raises(InputError) as caught:
        conversations(gold, template, Limits(**limits))
    assert (caught.value.reason, caught.value.field, caught.value.exit_code) == ("TemplateInvalid", FIELD, 64)
    assert "leave it out" in caught.value.message
    return caught.value.message


def test_a_template_frames_the_prompt():
    assert texts("Classify: {{ prompt | trim }}\nLabel:\n") == [
        "Classify: card lost\nLabel:\n",
        'Classify: say "hi"\nLabel:\n',
    ]


def test_a_prompt_is_never_read_as_a_template():
    assert texts("{{ prompt }}", [Example("{{ 7 * 7 }}{% bad", "a")]) == ["{{ 7 * 7 }}{% bad"]


def test_ordinary_logic_works():
    template = (
        "{% for line in prompt.splitlines() %}> {{ line | upper }}\n{% endfor %}{% if 'hi' in prompt %}!{% endif %}"
    )
    assert texts(template) == ["> CARD LOST\n", '> SAY "HI"\n!']


def test_a_template_may_expect_more_of_a_prompt_than_one_word():
    gold = [Example("a|b", "x"), Example("c|d", "y")]
    assert texts("{{ prompt.split('|')[1] }}", gold) == ["b", "d"]


def test_a_template_is_asked_as_one_user_message_whatever_the_format(tmp_path):
    gold = [Example("Be brief.\n2 + 2?", "4", (("system", "Be brief."), ("user", "2 + 2?")))]
    with serve(lambda request: request.reply("4")) as model:
        measure(model.url, tmp_path, gold=gold, promptTemplate="Q: {{ prompt }}")
    assert model.requests[0].body["messages"] == [{"role": "user", "content": "Q: Be brief.\n2 + 2?"}]


@pytest.mark.parametrize(
    "template",
    [
        "{{ prompt }}{{ ''.__class__ }}",
        "{{ prompt.__init__ }}",
        "{{ prompt.__class__.__mro__[1].__subclasses__() }}",
        "{{ prompt | attr('__class__') }}",
        "{{ prompt['__class__'] }}",
        "{{ '{0.__class__}'.format(prompt) }}",
        "{{ prompt }}{{ self.__init__.__globals__ }}",
        "{{ (prompt | map('upper')).gi_frame.f_back }}",
        "{% set x = [] %}{{ x.append(prompt) }}",
    ],
)
def test_pythons_insides_are_out_of_reach(template):
    assert "fails for question 1" in problem(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ prompt }}{% include '/etc/passwd' %}",
        "{{ prompt }}{% import 'os' as os %}",
        "{% extends '/etc/passwd' %}{{ prompt }}",
    ],
)
def test_no_file_can_be_brought_in(template):
    assert "loader" in problem(template)


@pytest.mark.parametrize(
    "name", ["range(10 ** 9)", "cycler(1)", "lipsum(10)", "dict()", "config", "namespace()", "credentials"]
)
def test_nothing_but_prompt_is_defined(name):
    word = name.partition("(")[0]
    assert f"uses {word}; only prompt is defined" in problem(f"{{{{ prompt }}}}{{% for i in {name} %}}x{{% endfor %}}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ prompt }}{{ 'a' * 10 ** 10 }}",
        "{{ prompt }}{{ 'a'.ljust(10 ** 10) }}",
        "{{ prompt | center(10 ** 10) }}",
        "{{ prompt }}{{ '%10000000000d' % 1 }}",
        "{{ prompt }}{{ '{:>10000000000}'.format(1) }}",
        "{{ prompt }}{{ ([0] * 10 ** 10) | length }}",
        "{% set ns = prompt ~ 'aaaaaaaa' %}" + "{% set ns = ns ~ ns %}" * 60 + "{{ ns }}",
        "{{ prompt" + " | replace('', 'aaaaaaaaaaaaaaaaaaaaaaaa')" * 12 + " }}",
    ],
)
def test_a_template_that_grows_without_bound_ends_in_an_error(template):
    assert "takes more than 5 s of CPU time or 256 MiB of memory" in problem(template, seconds=5, memory=256 << 20)


@pytest.mark.parametrize(
    "template",
    [
        "{{ prompt }}{{ 10 ** (10 ** 10) }}",
        "{{ prompt }}{% set s = 'a' * 99999 %}{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_never_ends_is_ended(template):
    began = time.monotonic()
    assert "takes more than 1 s of CPU time" in problem(template, seconds=1)
    assert time.monotonic() - began < 60


def test_a_template_that_multiplies_the_prompt_is_refused():
    template = "{% for letter in 'abcdefgh' * 1000 %}{{ prompt }}{% endfor %}"
    assert "makes a text of more than" in problem(template)


@pytest.mark.parametrize("template", ["{{ prompt", "{% if prompt %}", "{{ prompt | no_such_filter }}", "{{ 1 + }}"])
def test_what_is_no_template_is_said_with_jinjas_words(template):
    assert "is no template: " in problem(template)


def test_a_template_without_the_prompt_is_refused():
    assert "every question would be the same" in problem("Classify this ticket.")


def test_what_is_undefined_is_an_error_and_not_an_empty_text():
    assert "fails for question 1: UndefinedError: 'str object' has no attribute 'no'" in problem("{{ prompt.no }}")


def test_an_error_never_quotes_the_data():
    gold = [Example("fine", "a"), Example("jane.doe@example.org", "b")]
    message = problem("{% if '@' in prompt %}{{ {}[prompt] }}{% endif %}", gold)
    assert "fails for question 2: UndefinedError" in message
    assert "jane" not in message


def test_a_template_that_is_wrong_asks_nobody(tmp_path):
    with serve(lambda request: request.reply("a")) as model, pytest.raises(InputError):
        measure(model.url, tmp_path, gold=GOLD, promptTemplate="{{ prompt.__class__ }}")
    assert model.requests == []


@pytest.mark.parametrize("answer", ["a", "card lost " * 50, "東京都に住んでいます" * 20, "\ud83d", "x" * 100_000])
def test_an_answer_has_room_for_the_longest_gold_answer_but_not_for_ever(answer):
    room = longest_answer([Example("q", "a"), Example("q", answer)])
    # One token a character is more than tokenizers need on the average, in any script.
    assert 16 <= room <= 2048
    assert room >= min(len(answer) / 2, 2048)
