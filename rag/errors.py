"""One tree, split by what the caller does next.

DomainQAError
├── UsageError            the request is wrong: change it
│   ├── ConfigError         a setting is unknown, contradictory or missing
│   ├── NotFoundError       no such collection, document, model or strategy
│   ├── ConflictError       it contradicts what is there just now: look, then ask again
│   ├── DoesNotFitError     the question cannot fit the model's window
│   └── NotSupportedError   this engine cannot do what was asked of it: ask without
├── BusyError             there is no room just now: come back after ``retry_after_s``
├── SourceError           this file cannot be read: skip it, report it, go on
├── StateError            what is on disk doesn't fit or is damaged: mend it as the message says
│   ├── ModelError          weights are missing, broken or not what was pinned
│   ├── CatalogError        the catalog cannot be opened, or is from another version
│   │   └── LockedError         another writer is at it: try again when it is done
│   └── IndexStateError     an index is missing, damaged or made by another embedder
└── EngineError           the model server: wait, or look at the server
    ├── EngineBusyError     full: come back after ``retry_after_s``
    ├── EngineUnavailableError  not reachable, or not ready
    ├── EngineTimeoutError  no answer in time
    └── EngineFaultError    it answered with an error of its own

Messages say what, which value, and what to do. The command line prints them in one line; the API
puts them in an OpenAI-style body.
"""


class DomainQAError(Exception):
    """Base of every error we raise on purpose. Anything else is a bug and keeps its traceback."""


class UsageError(DomainQAError):
    """The request is wrong: change it."""


class ConfigError(UsageError):
    """A setting is unknown, contradictory or missing."""


class NotFoundError(UsageError):
    """There is no such collection, document, model or strategy."""


class ConflictError(UsageError):
    """It contradicts what is there just now, such as a name that is taken: look, then ask again."""


class DoesNotFitError(UsageError):
    """The question (or one whole document) cannot fit the model's window."""


class NotSupportedError(UsageError):
    """This engine cannot do what was asked of it, such as holding its text to a schema: ask without."""


class BusyError(DomainQAError):
    """There is no room just now, such as in a queue: come back after ``retry_after_s`` seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceError(DomainQAError):
    """This file cannot be read: skip it, report it, go on."""


class StateError(DomainQAError):
    """What is on disk doesn't fit or is damaged: mend it as the message says."""


class ModelError(StateError):
    """Weights are missing, broken or not what was pinned."""


class CatalogError(StateError):
    """The catalog cannot be opened, is locked by another writer, or is from another version."""


class LockedError(CatalogError):
    """Another writer is at the collection: try again when it is done."""


class IndexStateError(StateError):
    """An index is missing, damaged or made by another embedder."""


class EngineError(DomainQAError):
    """The model server failed: wait, or look at the server."""


class EngineBusyError(EngineError):
    """Every place is taken: come back after ``retry_after_s`` seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineUnavailableError(EngineError):
    """The engine is not reachable, or not ready. ``retry_after_s`` is ``None`` where nobody knows for how long."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineTimeoutError(EngineError):
    """No answer came in time."""


class EngineFaultError(EngineError):
    """The engine answered with an error of its own."""
