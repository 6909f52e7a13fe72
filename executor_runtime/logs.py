"""Logs: one JSON object a line on stdout, whatever the logged values hold (the seed's T008).

Fields: ``timestamp`` (UTC, ISO 8601), ``level``, ``event_type``, ``container_id``, and where there is one
``execution_id`` and ``request_id``. ASCII only, so that no newline, ANSI sequence or Unicode line
separator from user code can break a line or a terminal. Known tokens never leave the process.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from contracts.log_line import render_record
from executor_runtime.secret import Redactor

_NOISY: Final = ("aiohttp", "asyncio", "uvicorn", "uvicorn.error")


def configure_logs(level: str, container_id: str, redactor: Redactor, stream: TextIO | None = None) -> None:
    """Sends structlog's and the standard library's records to ``stream`` (stdout) as JSON lines."""
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("event_type"),
            _add_container(container_id),
            _redact_with(redactor),
            render_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_LineLoggerFactory(stream or sys.stdout),
        cache_logger_on_first_use=False,
    )
    logging.root.handlers[:] = [_ToStructlog()]
    logging.root.setLevel(number)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def _add_container(container_id: str) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    def add(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
        record["container_id"] = container_id
        return record

    return add


def _redact_with(redactor: Redactor) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    def redact(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
        redacted: EventDict = redactor.redact(record)
        return redacted

    return redact


def render_line(_logger: WrappedLogger, _method: str, record: EventDict) -> str:
    """The record as one line of ASCII."""
    return render_record(record)


class _LineLogger:
    """Writes lines. A log that nobody reads any more must not take the executor with it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = log = fatal = msg


class _LineLoggerFactory:
    def __init__(self, stream: TextIO) -> None:
        self._logger = _LineLogger(stream)

    def __call__(self, *_: Any) -> _LineLogger:
        return self._logger


class _ToStructlog(logging.Handler):
    """Records of libraries (uvicorn, asyncio) in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library_message",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )
