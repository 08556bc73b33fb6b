"""Settings of the operator, from flags and environment (`RETUNE_…`). There are no secrets among them."""

import dataclasses
import os
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import click

from retune import __version__
from retune.api import Prices, decimal
from retune.decide.facts import Policy


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that an administrator can set; the chart's values end here."""

    trainer_image: str
    namespaces: tuple[str, ...]
    lease_namespace: str
    lease_name: str
    identity: str
    workers: int
    api_rate: float
    api_burst: int
    listen: str
    health_port: int
    metrics_port: int
    resync_seconds: int
    artifacts_uri: str
    currency: str
    gpu_hour_price: str
    cpu_hour_price: str
    waiting_deadline: int
    retry_backoff: int
    status_every: int
    tap_image: str
    server_image: str
    signing_key: str
    prometheus_url: str
    poll_seconds: float
    feedback_window: float
    evidence_seconds: int
    drift_seconds: float
    channels: str
    log_level: str

    @property
    def policy(self) -> Policy:
        """The part that decisions depend on."""
        return Policy(
            trainer_image=self.trainer_image,
            operator_version=__version__,
            artifacts_uri=self.artifacts_uri,
            currency=self.currency,
            gpu_hour_price=self.gpu_hour_price,
            cpu_hour_price=self.cpu_hour_price,
            waiting_deadline=self.waiting_deadline,
            retry_backoff=self.retry_backoff,
            status_every=self.status_every,
            poll_every=self.poll_seconds,
            feedback_window=self.feedback_window,
            evidence_every=self.evidence_seconds,
            drift_every=self.drift_seconds,
        )

    def lines(self) -> list[str]:
        """One line a setting, for the log at start."""
        return [f"{name}={value}" for name, value in sorted(dataclasses.asdict(self).items())]


_OPTIONS: tuple[tuple[str, Any, Any, str], ...] = (
    ("--trainer-image", str, None, "Image of the preflight and training pods."),
    ("--namespaces", str, "", "Namespaces to serve, separated by commas; empty: all."),
    ("--lease-namespace", str, "default", "Namespace of the leadership Lease."),
    ("--lease-name", str, "retune-operator", "Name of the leadership Lease."),
    ("--identity", str, "", "Name of this process among the candidates; empty: the host's name and the process id."),
    ("--workers", click.IntRange(1, 64), 8, "Reconciles at the same time."),
    ("--api-rate", click.FloatRange(1), 50.0, "Requests to the API server per second, in the long run."),
    ("--api-burst", click.IntRange(1), 100, "Requests to the API server at once."),
    ("--listen", str, "0.0.0.0", "Address of the health and metrics ports."),  # noqa: S104 - a pod's own address
    ("--health-port", click.IntRange(0, 65535), 8080, "Port of /healthz and /readyz."),
    ("--metrics-port", click.IntRange(0, 65535), 9090, "Port of /metrics."),
    ("--resync-seconds", click.IntRange(10), 600, "Seconds between two comparisons of the caches with lists."),
    ("--artifacts-uri", str, "", "Where artifacts go if a job names no place: s3://… or pvc://…; empty: jobs must."),
    ("--currency", str, "EUR", "Currency of the price list."),
    ("--gpu-hour-price", str, "0", "Price of a GPU for an hour; a job's own price is never below it."),
    ("--cpu-hour-price", str, "0", "Price of a CPU core for an hour."),
    ("--waiting-deadline", click.IntRange(1), 600, "Seconds until a pod that only its spec keeps from starting fails."),
    ("--retry-backoff", click.IntRange(0), 10, "Seconds before an attempt is tried again; doubles, up to 5 minutes."),
    ("--status-every", click.IntRange(1), 10, "Seconds between two writes of a run's progress."),
    ("--tap-image", str, "", "Image of the taps; empty: nothing can be served."),
    ("--server-image", str, "", "Image of the model server for jobs that name none; empty: jobs must."),
    ("--signing-key", str, "", "File with the Ed25519 key (PEM) that arms documents are signed with; empty: none."),
    ("--prometheus-url", str, "", "Prometheus for stop-losses with queries of their own; empty: they see nothing."),
    ("--poll-seconds", click.FloatRange(0.5, 60), 2.0, "Seconds between two looks at the taps of a rollout."),
    ("--feedback-window", click.FloatRange(1), 600.0, "Seconds after an answer in which people's overrides count."),
    (
        "--evidence-seconds",
        click.IntRange(1),
        60,
        "Seconds between two writes of a rollout's figures, unless a state changes.",
    ),
    ("--drift-seconds", click.FloatRange(5, 90), 30.0, "Seconds between two looks at a job's drift."),
    ("--channels", str, "", "Folder with a file of Apprise URLs for each channel that can be told; empty: none."),
    ("--log-level", click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), "INFO", "How much is logged."),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the options of all settings; each can also be set as RETUNE_<NAME>."""
    for flag, type_, default, text in reversed(_OPTIONS):
        variable = "RETUNE_" + flag.removeprefix("--").replace("-", "_").upper()
        required = default is None
        command = click.option(
            flag, type=type_, default=default, required=required, envvar=variable, show_default=True, help=text
        )(command)
    return command


def settings(**given: Any) -> Settings:  # noqa: ANN401 - click's values
    """Settings from the values of `options`.

    Raises:
        click.BadParameter: a value would make every decision fail.
    """
    if not given["trainer_image"]:
        raise click.BadParameter("--trainer-image is empty; name the image of the preflight and training pods")
    try:
        Prices(currency=given["currency"], gpu_hour=given["gpu_hour_price"], cpu_hour=given["cpu_hour_price"])
        decimal(given["gpu_hour_price"]), decimal(given["cpu_hour_price"])
    except ValueError as error:
        raise click.BadParameter(f"--currency, --gpu-hour-price or --cpu-hour-price: {error}") from error
    url = urlsplit(given["prometheus_url"])
    if given["prometheus_url"] and (url.scheme not in ("http", "https") or not url.hostname):
        raise click.BadParameter("--prometheus-url: write http://HOST:PORT or https://HOST:PORT")
    if url.username is not None or url.password is not None:  # settings are logged
        raise click.BadParameter(
            "--prometheus-url holds a user name or password; put a proxy that knows them before it"
        )
    given["namespaces"] = tuple(n.strip() for n in given["namespaces"].split(",") if n.strip())
    given["identity"] = given["identity"] or f"{socket.gethostname()}-{os.getpid()}"
    return Settings(**given)
