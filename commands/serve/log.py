"""The server's log on stderr: text for a person, or one JSON object per line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from llorch.base.times import rfc3339
from llorch.commands.cli import one_line

LOGGERS = ("llorch.serving", "uvicorn.error", "asyncio")


class TextFormatter(logging.Formatter):
    """Log records as text: time, level, message; a traceback on the lines after it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, and its traceback if it has one."""
        when = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        details = getattr(record, "details", {})
        tail = f" {details['ms']} ms" if "ms" in details else ""
        line = f"{when} {record.levelname.lower()} {one_line(record.getMessage())}{tail}"
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


class JsonFormatter(logging.Formatter):
    """Log records as JSON, one object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        document = {
            "time": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": one_line(record.getMessage()),
            **getattr(record, "details", {}),
        }
        if record.exc_info is not None:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)


def log_to_stderr(form: str) -> None:
    """Send the log of the server, of uvicorn and of asyncio to stderr only. form: "json" or "text"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO if name == LOGGERS[0] else logging.WARNING)
