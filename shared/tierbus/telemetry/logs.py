"""Logs: JSON from services, readable on a terminal, third parties through the same pipe. Never prompts, keys or frame locals."""

import logging
import sys
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor


def configure(service: str, *, level: str = "info", form: str = "auto", stream: Any = None) -> None:
    """Set logging up for this process. `form` is auto, json or pretty."""
    out = stream or sys.stderr
    pretty = form == "pretty" or (form == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _named(service),
    ]
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.EventRenamer("msg"),
            structlog.processors.JSONRenderer(),
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in (
        "httpx",
        "httpx2",
        "httpcore",
        "httpcore2",
        "anthropic",
        "openai",
        "uvicorn",
        "uvicorn.error",
        "faststream",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        _through_root(logging.getLogger(name))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _through_root(logger: logging.Logger) -> None:
    """FastStream, for one, gives its loggers handlers of their own: what they say would not be JSON."""
    logger.handlers = []
    logger.propagate = True


def _named(service: str) -> Processor:
    def add(_logger: Any, _method: str, event: Any) -> Any:
        event.setdefault("service", service)
        return event

    return add
