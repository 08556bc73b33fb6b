"""What users think of answers: ids that may still be spoken of, and what is said. Bounded: 100,000 ids, one hour."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import asdict, dataclass, field
from typing import Any

from retune_tap.arms import Edge
from retune_tap.edges import Ticket

MOST_IDS = 100_000
KEPT = 3600.0
SIGNALS = ("thumbs", "override", "frustration", "score")


class FeedbackError(Exception):
    """A feedback that says nothing; `field` is what is wrong."""

    def __init__(self, wrong: str, message: str) -> None:
        super().__init__(message)
        self.field = wrong


@dataclass(frozen=True)
class Feedback:
    """What one says of one answer."""

    id: str
    thumbs: str | None
    override: bool
    frustration: bool
    score: float | None

    @classmethod
    def of(cls, body: object) -> Feedback:
        """Read it.

        Raises:
            FeedbackError: the field that is wrong.
        """
        if not isinstance(body, dict):
            raise FeedbackError("body", "the body is not a JSON object")
        response = body.get("id")
        if not isinstance(response, str) or not response or len(response) > 512:
            raise FeedbackError("id", "id is not the id of a response (see x-retune-id)")
        thumbs, score = body.get("thumbs"), body.get("score")
        if thumbs is not None and thumbs not in ("up", "down"):
            raise FeedbackError("thumbs", "thumbs is not up or down")
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if score is not None and not (number and 0 <= score <= 1):
            raise FeedbackError("score", "score is not a number from 0 to 1")
        for name in ("override", "frustration"):
            if not isinstance(body.get(name, False), bool):
                raise FeedbackError(name, f"{name} is not true or false")
        if all(body.get(name) is None for name in SIGNALS):
            raise FeedbackError("thumbs", f"there is none of {', '.join(SIGNALS)}")
        return cls(response, thumbs, body.get("override", False), body.get("frustration", False), score)

    def told(self) -> dict[str, Any]:
        """As it is written; what was not said is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class Known:
    """An answer that may be spoken of. `ticket` is None where feedback must not enter the evidence."""

    model: str
    arm: str
    at: float
    ticket: Ticket | None
    said: set[str] = field(default_factory=set)


class Answers:
    """The answers that were given lately, by response id."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()
        # By window in seconds, the answers that wait for its end: oldest first, as they are known.
        self._waiting: dict[float, deque[tuple[Known, Edge]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def knows(self, response: str) -> bool:
        """Whether an answer with this id may be spoken of."""
        return response in self._known

    def gave(self, response: str, known: Known) -> None:
        """An answer with this id has begun. An id that is given twice is the first one's."""
        if not response or len(response) > 512 or response in self._known:
            return
        self._known[response] = known
        if known.ticket:
            for edge in known.ticket.windows():
                self._waiting.setdefault(min(edge.window, KEPT - 1.0), deque()).append((known, edge))
        while len(self._known) > MOST_IDS:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """An id that is forgotten before its time was not watched to the end: it does not count."""
        _, oldest = self._known.popitem(last=False)
        for waiting in self._waiting.values():
            while waiting and waiting[0][0] is oldest:
                waiting.popleft()

    def expire(self, now: float) -> None:
        """Settle what waited for its end, and forget what is older than an hour."""
        for window, waiting in list(self._waiting.items()):
            while waiting and waiting[0][0].at + window <= now:
                known, edge = waiting.popleft()
                if known.ticket:
                    known.ticket.settle_override(edge)
            if not waiting:
                del self._waiting[window]
        while self._known and next(iter(self._known.values())).at <= now - KEPT:
            self._known.popitem(last=False)

    def said(self, feedback: Feedback) -> tuple[Known, list[str]] | None:
        """Note a feedback: the answer, and which of the signals are new for it. None: id not known (any more)."""
        known = self._known.get(feedback.id)
        if known is None:
            return None
        signals = [
            *([f"thumbs_{feedback.thumbs}"] if feedback.thumbs else []),
            *(["override"] if feedback.override else []),
            *(["frustration"] if feedback.frustration else []),
            *(["score"] if feedback.score is not None else []),
        ]
        new = [signal for signal in signals if signal not in known.said]
        known.said.update(new)
        if feedback.override and known.ticket:
            known.ticket.overridden = True
        return known, new
