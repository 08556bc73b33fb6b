"""`hack/load` itself: so many users, at such a rate, for so long; a line now and then, a table at the end."""

import argparse
import signal
import sys
import threading
import time
from pathlib import Path

from hack.load import answers, questions, report
from hack.load.background import Background
from hack.load.traffic import Plan
from rich.console import Console


def main() -> int:
    """Parse the command line, ask until the time is over or Ctrl-C, and tell; 1 if no answer came at all."""
    arguments = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        asked = questions.read(arguments.questions.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        print(f"--questions {arguments.questions}: {error}", file=sys.stderr)
        return 2
    plan = Plan(
        url=arguments.url.rstrip("/"),
        model=arguments.model,
        questions=asked,
        users=arguments.users,
        tokens=arguments.max_tokens,
        seed=arguments.seed,
    )
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    began = time.monotonic()
    with Background(plan, arguments.rate) as load:
        while not over.wait(min(arguments.every, max(0.0, began + arguments.seconds - time.monotonic()))):
            if time.monotonic() - began >= arguments.seconds:
                break
            _line(console, load, time.monotonic() - began, arguments.every)
    _end(console, load, time.monotonic() - began)
    return 0 if any(not answer.failed for answer in load.traffic.answers) else 1


def _line(console: Console, load: Background, passed: float, window: float) -> None:
    recent = answers.since(load.traffic.answers, time.time() - window)
    rate = f"{len(recent) / window:.1f}/s"
    told = (f"{arm}: {report.line(found)}" for arm, found in answers.by_arm(recent).items())
    console.print(f"{passed:6.0f} s  {rate}  {'; '.join(told)}", highlight=False, soft_wrap=True)


def _end(console: Console, load: Background, passed: float) -> None:
    found = load.traffic.answers
    console.print(report.table({**answers.by_arm(found), "all": answers.summary(found)}))
    heard = ", ".join(f"{count} of {status or 'no answer'}" for status, count in sorted(load.traffic.feedback.items()))
    told = [f"{len(found) / passed:.2f} requests/s over {passed:.0f} s"]
    told += [f"{load.traffic.dropped} dropped"] if load.traffic.dropped else []
    told += [f"overrides: {heard}"] if heard else []
    console.print("; ".join(told), highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hack/load",
        description="Users who ask a served model at random times, whatever it takes to answer, and override what is "
        "wrong. Asks the address it is given and nothing else: use it on a cluster of your own.",
    )
    parser.add_argument("--url", required=True, help="where /v1/ is, such as http://10.96.12.34:8000")
    parser.add_argument("--model", required=True, help="the public model name: the job's, unless it says otherwise")
    parser.add_argument(
        "--questions", required=True, type=Path, help="JSON Lines with prompt and completion, such as a gold set"
    )
    parser.add_argument("--rate", type=_positive, default=4.0, help="requests a second on average (%(default)s)")
    parser.add_argument("--users", type=int, default=400, help="users, each with an id of its own (%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=60.0, help="how long (%(default)s)")
    parser.add_argument("--every", type=_positive, default=5.0, help="seconds between two lines (%(default)s)")
    parser.add_argument("--max-tokens", type=int, default=8, help="longest answer (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (%(default)s)")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
