"""Counters out of Prometheus: what is asked of it, how its answers are read, and what is said when it fails."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner, Result
from tests.unit.cli.traces import job

from retune.api.rollout import StopLoss
from retune.cli.app import verbs
from retune.cli.replay.prometheus import Window, read_prometheus, window
from retune.cli.replay.trace import Key
from retune.cli.replay.unusable import UnusableError

BAD, TOTAL = 'shop_refunds{model="$arm"}', 'shop_orders{model="$arm"}'
OWN = StopLoss(name="refunds", bad=BAD, total=TOTAL)
BEGIN = 1_790_000_000.0
Series = dict[str, list[tuple[float, str]]]


class Prometheus:
    """Answers range queries from series that it is given: by query, by pod, samples (seconds from BEGIN, value)."""

    def __init__(self) -> None:
        self.known: dict[str, Series] = {}
        self.asked: list[dict[str, str]] = []
        self.fails: tuple[int, Any] | None = None
        self.url = ""

    def answer(self, asked: dict[str, str]) -> tuple[int, Any]:
        self.asked.append(asked)
        if self.fails:
            return self.fails
        begin, end = float(asked["start"]) - BEGIN, float(asked["end"]) - BEGIN
        result = [
            {"metric": {"pod": pod}, "values": [[BEGIN + at, v] for at, v in samples if begin <= at <= end]}
            for pod, samples in self.known.get(asked["query"], {}).items()
        ]
        return 200, {"status": "success", "data": {"resultType": "matrix", "result": result}}


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    """A server of a few lines on a loopback port."""
    made = Prometheus()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            code, body = made.answer({key: value[0] for key, value in sent.items()})
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()


def arm(query: str, name: str) -> str:
    return query.replace("$arm", name)


def test_pods_are_added_up_each_with_its_own_resets_and_a_late_one_counts_from_nought(prometheus: Prometheus) -> None:
    prometheus.known = {
        arm(TOTAL, "stable"): {
            "a": [(0, "100"), (15, "110"), (30, "4"), (45, "5")],
            "b": [(30, "7"), (45, "9")],
        },
        arm(BAD, "stable"): {"a": [(15, "3"), (30, "NaN"), (45, "1")]},
    }
    found = read_prometheus(prometheus.url, [OWN], "triage", Window(BEGIN, BEGIN + 45, 15))
    key = Key("refunds", "stable")
    assert [dict(poll.added) for poll in found.polls] == [{}, {key: (3, 10)}, {key: (0, 11)}, {key: (1, 3)}]


def test_builtins_are_asked_of_the_taps_by_the_public_name_of_the_model(prometheus: Prometheus) -> None:
    losses = [
        StopLoss(name="errors", builtin="Errors"),
        StopLoss(name="slow", builtin="Slow", slow={"seconds": 2, "of": "Response"}),
        StopLoss(name="wordy", builtin="Long", long={"tokens": 800}),
    ]
    with pytest.raises(UnusableError, match="retune_tap_requests_total"):
        read_prometheus(prometheus.url, losses, "triage", Window(BEGIN, BEGIN + 45, 15))
    queries = [asked["query"] for asked in prometheus.asked]
    assert 'retune_tap_errors_total{model="triage",arm="canary"}' in queries
    assert any('retune_tap_latency_seconds_bucket{model="triage",arm="canary",le=~"2(' in query for query in queries)
    assert not any("rate(" in query or "increase(" in query for query in queries)


def test_a_long_time_is_asked_for_in_pieces_that_prometheus_gives(prometheus: Prometheus) -> None:
    prometheus.known = {arm(TOTAL, "stable"): {"a": [(0, "0"), (300_000, "20")]}}
    found = read_prometheus(prometheus.url, [OWN], "triage", Window(BEGIN, BEGIN + 300_000, 15))
    assert sum(added[1] for poll in found.polls for added in poll.added.values()) == 20
    pieces = [(float(a["start"]), float(a["end"])) for a in prometheus.asked if a["query"] == arm(TOTAL, "stable")]
    assert max((end - begin) / 15 + 1 for begin, end in pieces) <= 11_000
    assert len(pieces) == 3


def replay(folder: Path, url: str, *more: str) -> Result:
    file = job(folder, stopLoss=[{"name": "refunds", "bad": BAD, "total": TOTAL}])
    return CliRunner().invoke(verbs, ["replay", "--job", file, "--prometheus", url, *more])


def test_a_stop_loss_with_queries_of_its_own_is_replayed_without_a_cluster(
    tmp_path: Path, prometheus: Prometheus
) -> None:
    for name, share, wrong in (("stable", 80, 1), ("canary", 20, 8)):
        polls = range(0, 1200, 15)
        prometheus.known[arm(TOTAL, name)] = {"a": [(at, str(at // 15 * share)) for at in polls]}
        prometheus.known[arm(BAD, name)] = {"a": [(at, str(at // 15 * wrong)) for at in polls]}
    begin, end = "2026-09-21T14:13:20Z", "2026-09-21T14:33:20Z"
    said = replay(tmp_path, prometheus.url, "--from", begin, "--to", end, "-o", "json")
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout.splitlines()[-1])["verdict"] == "RolledBack"


def test_what_prometheus_says_of_a_bad_query_is_passed_on(tmp_path: Path, prometheus: Prometheus) -> None:
    prometheus.fails = (400, {"status": "error", "error": "parse error: unexpected end of input"})
    said = replay(tmp_path, prometheus.url, "--from", "1h")
    assert said.exit_code == 1
    assert "parse error: unexpected end of input" in said.stderr
    assert said.stderr.count("\n") == 1


def test_where_nobody_answers_the_address_is_named(tmp_path: Path, prometheus: Prometheus) -> None:
    prometheus.fails = (200, ["not", "prometheus"])
    assert "Is it the right address?" in replay(tmp_path, prometheus.url, "--from", "1h").stderr
    assert "http://127.0.0.1:1" in replay(tmp_path, "http://127.0.0.1:1", "--from", "1h").stderr
    assert replay(tmp_path, "localhost:9090", "--from", "1h").exit_code == 2


@pytest.mark.parametrize(
    ("begin", "end", "every", "said"),
    [
        ("yesterday", None, "15s", '--from "yesterday" is no time'),
        ("1h", "2h", "15s", "--from must lie before --to"),
        ("1h", None, "often", "--every 'often' is not a duration"),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(begin: str, end: str | None, every: str, said: str) -> None:
    with pytest.raises(UnusableError) as refused:
        window(begin, end, every)
    assert said in refused.value.message
