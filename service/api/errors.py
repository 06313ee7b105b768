"""Errors to OpenAI-style bodies: which status, which type, and what the client may know.

A ``DomainQAError`` shows its message, for it was written to be read. Anything else is a bug: it is
logged with its traceback and the client is told no detail.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rag.errors import (
    BusyError,
    ConfigError,
    ConflictError,
    DoesNotFitError,
    DomainQAError,
    EngineBusyError,
    EngineError,
    EngineFaultError,
    EngineTimeoutError,
    EngineUnavailableError,
    LockedError,
    NotFoundError,
    StateError,
    UsageError,
)
from service.api.schemas import ErrorBody, ErrorDetail

logger = logging.getLogger(__name__)

UNAVAILABLE_RETRY_S = 5
"""An engine that starts says nothing about how long; a client that asks again after this does no harm."""


class RequestError(UsageError):
    """A field of the request is wrong or not supported. ``param`` names it as OpenAI's errors do."""

    def __init__(self, message: str, param: str | None, code: str = "invalid_value", status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


class StoppingError(DomainQAError):
    """The service is on its way down: ask again in a moment, or another one."""


class NotAuthenticatedError(DomainQAError):
    """No key, or none that is good. Says the same whatever is wrong with it."""

    def __init__(self) -> None:
        super().__init__("this needs a key that is valid; send it as `Authorization: Bearer dqa_...`")


class ForbiddenError(DomainQAError):
    """The key is good, and its role does not allow this."""


class RateLimitError(DomainQAError):
    """The key has used up its minute: come back after ``retry_after_s`` seconds."""

    def __init__(self, kind: Literal["requests", "tokens"], per_minute: int, retry_after_s: float) -> None:
        wait_s = max(1, math.ceil(retry_after_s))
        super().__init__(f"this key is limited to {per_minute} {kind} per minute; come back in {wait_s} s")
        self.retry_after_s = wait_s


def status_of(error: DomainQAError) -> int:
    """The HTTP status that tells the client what to do next."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, ConflictError | LockedError):
        return 409
    if isinstance(error, BusyError):
        return 429
    if isinstance(error, ConfigError):
        return 500  # the operator's settings, not this request
    if isinstance(error, UsageError):
        return 400
    if isinstance(error, NotAuthenticatedError):
        return 401
    if isinstance(error, ForbiddenError):
        return 403
    if isinstance(error, EngineBusyError | RateLimitError):
        return 429
    if isinstance(error, EngineUnavailableError | StoppingError):
        return 503
    if isinstance(error, EngineTimeoutError):
        return 504
    if isinstance(error, EngineError):
        return 502
    return 500


def body_of(error: DomainQAError) -> ErrorBody:
    """OpenAI's error body: for a response, or for an event in the middle of a stream."""
    if isinstance(error, RequestError):
        return _body(str(error), "invalid_request_error", error.param, error.code)
    for family, kind, code in _KINDS:
        if isinstance(error, family):
            return _body(str(error), kind, None, code)
    return _body(str(error), "server_error", None, None)


_KINDS: Sequence[tuple[type[DomainQAError], str, str | None]] = (
    (NotFoundError, "invalid_request_error", "not_found"),
    (ConflictError, "invalid_request_error", "conflict"),
    (LockedError, "invalid_request_error", "locked"),
    (BusyError, "rate_limit_error", "busy"),
    (DoesNotFitError, "invalid_request_error", "context_length_exceeded"),
    (ConfigError, "server_error", "configuration"),
    (UsageError, "invalid_request_error", None),
    (NotAuthenticatedError, "invalid_request_error", "invalid_api_key"),
    (ForbiddenError, "invalid_request_error", "insufficient_permissions"),
    (RateLimitError, "rate_limit_error", "rate_limit_exceeded"),
    (EngineBusyError, "rate_limit_error", "engine_busy"),
    (EngineUnavailableError, "server_error", "engine_unavailable"),
    (EngineTimeoutError, "server_error", "engine_timeout"),
    (EngineError, "server_error", "engine_fault"),
    (StoppingError, "server_error", "stopping"),
    (StateError, "server_error", "state"),
)


def unexpected() -> ErrorBody:
    """What a client is told of a bug."""
    return _body("an internal error; the server's log has the details", "server_error", None, "internal_error")


def response_to(error: DomainQAError) -> JSONResponse:
    headers: dict[str, str] = {}
    if isinstance(error, NotAuthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(error, EngineBusyError | EngineUnavailableError | BusyError | RateLimitError):
        wait_s = UNAVAILABLE_RETRY_S if error.retry_after_s is None else error.retry_after_s
        headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    elif isinstance(error, StoppingError):
        headers |= {"Retry-After": str(UNAVAILABLE_RETRY_S), "Connection": "close"}
    status = status_of(error)
    if status >= 500:
        logger.warning("answered %d: %s", status, for_log(error))
    return JSONResponse(body_of(error).model_dump(), status, headers)


def for_log(error: DomainQAError) -> str:
    """Its message, unless that is the engine's own, which may repeat what a user said."""
    if isinstance(error, EngineFaultError):
        return "the engine failed with an error of its own, which the client was told"
    return str(error)


def refusal(status: int, message: str, code: str) -> JSONResponse:
    """A refusal that is decided before any route: host, origin, size."""
    return JSONResponse(_body(message, "invalid_request_error", None, code).model_dump(), status)


def install(app: FastAPI) -> None:
    """Answer every expected error with the body that OpenAI's clients understand."""
    app.add_exception_handler(DomainQAError, _on_domainqa_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_domainqa_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DomainQAError)
    return response_to(error)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first, *others = error.errors()
    param = _path(first["loc"])
    message = _sentence(first, param)
    if others:
        message += f" (and {len(others)} more)"
    return JSONResponse(_body(message, "invalid_request_error", param or None, "invalid_value").model_dump(), 400)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message, code = error.detail, None
    if error.status_code == 404:
        message, code = f"there is no {request.method} {request.url.path}", "not_found"
    elif error.status_code == 405:
        message, code = f"{request.url.path} does not take {request.method}", "method_not_allowed"
    elif error.status_code == 400:
        message, code = "the request's body cannot be read as JSON", "invalid_json"
    body = _body(message, "invalid_request_error", None, code)
    return JSONResponse(body.model_dump(), error.status_code, error.headers)


def _sentence(detail: dict[str, Any], param: str) -> str:
    """One line of a validation error. The rejected value is left out: it may be long, or a secret."""
    if detail["type"] == "json_invalid":
        return f"the request's body is not JSON: {detail['ctx']['error']} at character {detail['loc'][-1]}"
    if not param:
        return "the request needs a JSON object as its body, sent as Content-Type: application/json"
    if detail["type"] == "extra_forbidden":
        return f"{param}: there is no such field"
    if detail["type"] == "missing":
        return f"{param}: this field is required"
    said = str(detail["msg"]).removeprefix("Value error, ")
    return f"{param}: {said[:1].lower()}{said[1:]}"


def _path(location: Sequence[str | int]) -> str:
    """``("body", "messages", 0, "content", "str")`` to ``messages[0].content``."""
    path = ""
    for part in location[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in _UNION_ARMS:
            path += f".{part}" if path else part
    return path


_UNION_ARMS = {"str", "int", "float", "bool", "list"}
"""pydantic appends which arm of a union failed; that is no part of the request."""


def _body(message: str, kind: str, param: str | None, code: str | None) -> ErrorBody:
    # Lone surrogates, which JSON can smuggle in, cannot be encoded on the way out.
    clean = message.encode("utf-8", "replace").decode("utf-8")
    return ErrorBody(error=ErrorDetail(message=clean, type=kind, param=param, code=code))
