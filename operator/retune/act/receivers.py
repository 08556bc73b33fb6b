"""Hands one message to one receiver, through Apprise. Called in a thread: it blocks as long as the receiver likes."""

import logging
from typing import Any, Literal

Kind = Literal["info", "success", "warning", "failure"]
# They and those below them write URLs into their logs, and URLs of receivers hold credentials.
_LOGGERS = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib", "MARKDOWN")


class NotAReceiverError(Exception):
    """Apprise cannot make anything of the URL. The message does not hold it."""


def load() -> None:
    """Load Apprise with its plugins, which takes a second or so of CPU the first time. Blocks meanwhile."""
    import apprise  # 10 MB: nobody pays for it who has no channel

    plugins: Any = apprise.NotificationManager
    plugins().schemas()


def deliver(url: str, kind: Kind, title: str, body: str) -> bool:
    """Send a message as plain text; whether the receiver has taken it.

    Raises:
        NotAReceiverError: the URL leads nowhere.
        Exception: whatever a plugin of Apprise raises; its text may hold the URL.
    """
    import apprise  # loaded by then: see `load`

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    asset = apprise.AppriseAsset(
        app_id="Retune",
        app_desc="Retune",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,  # no event loop or pool of its own
        secure_logging=True,
        storage_mode=apprise.PersistentStoreMode.MEMORY,  # the file system is read-only
    )
    receiver = apprise.Apprise(asset=asset)
    if not receiver.add(url):
        raise NotAReceiverError
    sent = receiver.notify(
        body=body, title=title, notify_type=apprise.NotifyType(kind), body_format=apprise.NotifyFormat.TEXT
    )
    return bool(sent)
