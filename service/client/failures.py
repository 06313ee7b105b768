"""What can go wrong with a request, told apart by what the caller does next.

ClientError
├── InvalidRequestError   the request is wrong: change ``param``
├── UnknownNameError      no such collection, document or model
├── NotAllowedError       the key is missing or wrong, or may not do this
├── RateLimitedError      full: come back after ``retry_after_s``
├── ServiceFailedError    the service or its engine failed; ``retry_after_s`` where it says when to ask again
├── ServiceTimeoutError   no answer in time
└── UnreachableError      nobody answers at this address
"""

from collections.abc import Mapping
from typing import Any

from rag.errors import DomainQAError


class ClientError(DomainQAError):
    """``status`` is ``None`` where there was no reply, and in the middle of a stream."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        """Names the request in the service's log."""


class InvalidRequestError(ClientError):
    """The request is wrong: change what ``param`` names."""


class UnknownNameError(ClientError):
    """There is no such collection, document or model."""


class NotAllowedError(ClientError):
    """The key is missing or wrong, or may not do this."""


class RateLimitedError(ClientError):
    """Every place is taken: come back after ``retry_after_s`` seconds."""


class ServiceFailedError(ClientError):
    """The service or the model behind it failed."""


class ServiceTimeoutError(ClientError):
    """No answer came in time."""


class UnreachableError(ClientError):
    """Nobody answers at the service's address, or the connection broke."""


_BY_STATUS: Mapping[int, type[ClientError]] = {
    401: NotAllowedError,
    403: NotAllowedError,
    404: UnknownNameError,
    429: RateLimitedError,
    504: ServiceTimeoutError,
}
_BY_CODE: Mapping[str, type[ClientError]] = {
    "not_found": UnknownNameError,
    "engine_busy": RateLimitedError,
    "engine_timeout": ServiceTimeoutError,
}


def failure_of(status: int | None, body: Any, headers: Mapping[str, str]) -> ClientError:
    """The error that an API's body tells. Without a status, in the middle of a stream, its code and type decide."""
    detail = body.get("error") if isinstance(body, dict) else None
    detail = detail if isinstance(detail, dict) else {}
    message = detail.get("message")
    code = detail.get("code")
    if status is not None:
        kind = _BY_STATUS.get(status) or (InvalidRequestError if status < 500 else ServiceFailedError)
    elif detail.get("type") == "invalid_request_error":
        kind = _BY_CODE.get(str(code), InvalidRequestError)
    else:
        kind = _BY_CODE.get(str(code), ServiceFailedError)
    return kind(
        message if isinstance(message, str) else f"the service answered with status {status} and no reason",
        status=status,
        code=code if isinstance(code, str) else None,
        param=detail["param"] if isinstance(detail.get("param"), str) else None,
        retry_after_s=_seconds(headers.get("retry-after")),
        request_id=headers.get("x-request-id"),
    )


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isdecimal() else None
