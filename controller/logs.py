"""One JSON object a line on standard output, for our own loggers and for kopf's, uvicorn's and aiohttp's."""

import logging
import sys
from typing import TextIO

import structlog

from contracts.log_line import render_record

_NOISY = ("httpx", "kopf.objects", "aiohttp.access", "uvicorn.access", "asyncio")


def configure_logs(level: str, stream: TextIO | None = None) -> None:
    """Routes structlog and the standard library's loggers to ``stream`` (stdout); ``level`` as in ``LOG_LEVEL``."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "kopf"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


def _render(_logger: structlog.typing.WrappedLogger, _method: str, record: structlog.typing.EventDict) -> str:
    return render_record(record)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
