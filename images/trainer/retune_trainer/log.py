"""One JSON object a line on stdout, without any credential.

Every line of every library goes through here, so that none can slip past the scrubber.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO

from retune_stores.credentials import Scrubber

# These speak at INFO of every request or every file.
QUIET = ("boto3", "botocore", "urllib3", "s3transfer", "httpx", "filelock", "fsspec", "datasets", "accelerate")


class _Format(logging.Formatter):
    def __init__(self, scrubber: Scrubber) -> None:
        super().__init__()
        self._scrubber = scrubber

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line |= fields
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        told = json.dumps(self._scrubber.tree(line), ensure_ascii=False, default=str)
        # A line that cannot be written, logging would print by itself, past the scrubber. A lone surrogate is enough.
        return told.encode("utf-8", "replace").decode()


def set_up(scrubber: Scrubber, stream: TextIO | None = None) -> None:
    """Send all logging, and Python's warnings, to `stream` (stdout) in that form."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(_Format(scrubber))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def say(message: str, **fields: object) -> None:
    """Log one line with its figures as fields."""
    logging.getLogger("retune").info(message, extra={"fields": fields})
