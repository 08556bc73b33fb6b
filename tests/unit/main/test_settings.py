"""Settings from flags and environment, and what the log shows of them."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from retune.main.settings import Settings, options, settings


def read(*args: str, **env: str) -> Settings:
    found: list[Settings] = []

    @click.command()
    @options
    def command(**given: Any) -> None:
        found.append(settings(**given))

    environment = {"RETUNE_TRAINER_IMAGE": "t:1", **{f"RETUNE_{key}": value for key, value in env.items()}}
    result = CliRunner().invoke(command, args, env=environment)
    if result.exit_code:
        raise click.ClickException(result.output)
    return found[0]


def test_defaults_are_those_of_the_design() -> None:
    found = read()
    assert (found.api_rate, found.api_burst) == (50.0, 100)
    assert (found.namespaces, found.workers, found.lease_name) == ((), 8, "retune-operator")
    assert found.policy.trainer_image == "t:1"
    assert (found.policy.waiting_deadline, found.policy.retry_backoff) == (600, 10)


@pytest.mark.parametrize("source", ["flag", "environment"])
@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("workers", "3", 3),
        ("api-rate", "12.5", 12.5),
        ("namespaces", "a, b,,c ", ("a", "b", "c")),
        ("artifacts-uri", "s3://x/y", "s3://x/y"),
        ("gpu-hour-price", "3.20", "3.20"),
        ("identity", "me", "me"),
        ("log-level", "DEBUG", "DEBUG"),
        ("tap-image", "tap:1", "tap:1"),
        ("prometheus-url", "http://prometheus.monitoring:9090", "http://prometheus.monitoring:9090"),
        ("poll-seconds", "0.5", 0.5),
        ("feedback-window", "60", 60.0),
        ("evidence-seconds", "5", 5),
        ("channels", "/etc/retune/channels", "/etc/retune/channels"),
    ],
)
def test_every_setting_by_flag_or_environment(source: str, name: str, text: str, value: Any) -> None:
    field = name.replace("-", "_")
    found = read(f"--{name}", text) if source == "flag" else read(**{field.upper(): text})
    assert getattr(found, field) == value


def test_a_flag_wins_over_the_environment() -> None:
    assert read("--workers", "2", WORKERS="9").workers == 2


def test_two_processes_have_identities_of_their_own_kind() -> None:
    assert read().identity.rsplit("-", 1)[1].isdigit()


@pytest.mark.parametrize(
    "args", [("--workers", "0"), ("--api-rate", "0"), ("--health-port", "70000"), ("--log-level", "LOUD"), ("--nope",)]
)
def test_nonsense_is_refused_at_the_start(args: tuple[str, ...]) -> None:
    with pytest.raises(click.ClickException, match=args[0]):
        read(*args)


@pytest.mark.parametrize("env", [{}, {"RETUNE_TRAINER_IMAGE": ""}])
def test_the_trainer_image_is_asked_for(env: dict[str, str]) -> None:
    @click.command()
    @options
    def command(**given: Any) -> None:
        settings(**given)

    result = CliRunner().invoke(command, [], env={"RETUNE_TRAINER_IMAGE": None, **env})
    assert result.exit_code == 2
    assert "--trainer-image" in result.output


@pytest.mark.parametrize(
    "args", [("--gpu-hour-price", "3,20"), ("--cpu-hour-price", "-1"), ("--currency", "eur"), ("--currency", "€")]
)
def test_a_price_list_that_no_decision_could_use_is_refused_at_the_start(args: tuple[str, ...]) -> None:
    with pytest.raises(click.ClickException, match=args[0]):
        read(*args)


def test_each_setting_is_printed_once() -> None:
    found = read("--namespaces", "a,b")
    lines = found.lines()
    assert "namespaces=('a', 'b')" in lines
    assert "trainer_image=t:1" in lines
    assert len(lines) == len({line.split("=")[0] for line in lines}) == len(Settings.__dataclass_fields__)


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://x", "http://", "http://me:secret@prometheus:9090"])
def test_an_address_of_prometheus_that_is_none_or_that_would_be_logged_with_a_password_is_refused(url: str) -> None:
    with pytest.raises(click.ClickException, match="--prometheus-url"):
        read("--prometheus-url", url)


def test_what_decisions_depend_on_reaches_them() -> None:
    policy = read("--poll-seconds", "5", "--feedback-window", "60").policy
    assert (policy.poll_every, policy.feedback_window) == (5.0, 60.0)
