"""What started a run, with its numbers, in a line."""

from datetime import datetime

from retune.api.run import TriggerKind
from retune.cli.objects import Raw, moment, part


def told(run: Raw | None) -> str:
    """Such as `Drift mix: 0.31 beyond 0.2, 3200 samples, since 2026-03-01 12:00 UTC`; "" if it is not known."""
    trigger = part(run, "spec", "trigger")
    kind = str(trigger.get("kind") or "")
    since = _when(moment(trigger.get("noticedAt")))
    match kind:
        case TriggerKind.SCHEDULE:
            return f"{kind} of {since}" if since else kind
        case TriggerKind.DRIFT:
            named = f"{kind} {trigger.get('name') or ''}".strip()
            words = [_beyond(trigger), _samples(trigger), f"since {since}" if since else ""]
        case TriggerKind.NEW_EXAMPLES:
            named, value, limit = kind, trigger.get("value"), trigger.get("threshold")
            new = f"{value:.0f} new, {limit:.0f} asked for" if value is not None and limit is not None else ""
            total = trigger.get("samples")
            words = [new, f"{total} in all" if total is not None else ""]
        case _:
            return kind
    text = ", ".join(filter(None, words))
    return f"{named}: {text}" if text else named


def _beyond(trigger: Raw) -> str:
    value, limit = trigger.get("value"), trigger.get("threshold")
    return f"{value:g} beyond {limit:g}" if value is not None and limit is not None else ""


def _samples(trigger: Raw) -> str:
    return f"{trigger['samples']} samples" if trigger.get("samples") is not None else ""


def _when(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at is not None else ""
