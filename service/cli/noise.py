"""Keeps progress bars, advertisements and telemetry of other libraries off our stderr; warnings stay, a line each."""

import logging
import os
import warnings

from service import discretion
from service.cli import output

_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}
_ABOUT_CODE = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning)
"""Warnings to the programmer: nothing a reader of ours can do about them."""


def silence() -> None:
    """To be called before any of those libraries is imported. A variable that is already set stays as it is."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if not os.environ.get("PYTHONWARNINGS"):
        for category in _ABOUT_CODE:
            warnings.simplefilter("ignore", category)
    warnings.showwarning = _show_warning
    handler = _OneLine(logging.WARNING)
    logging.getLogger().addHandler(handler)
    discretion.keep()


class _OneLine(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        output.warn(record.getMessage())
        if record.exc_info is not None:
            output.stderr().print(logging.Formatter().formatException(record.exc_info), soft_wrap=True)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    output.warn(str(message))
