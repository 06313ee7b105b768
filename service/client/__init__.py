"""A Python client of the service, light to import: ``Client`` and, for asyncio, ``AsyncClient``.

Knows the API's wire format alone, not the library behind it.
"""

from service.client.asynchronous import AsyncClient
from service.client.failures import (
    ClientError,
    InvalidRequestError,
    NotAllowedError,
    RateLimitedError,
    ServiceFailedError,
    ServiceTimeoutError,
    UnknownNameError,
    UnreachableError,
)
from service.client.results import Answer, AnswerEvent, Channel, Citation, Collection, Hit, Model, TextEvent, Usage
from service.client.sync import Client
from service.client.wire import Turn

__all__ = [
    "Answer",
    "AnswerEvent",
    "AsyncClient",
    "Channel",
    "Citation",
    "Client",
    "ClientError",
    "Collection",
    "Hit",
    "InvalidRequestError",
    "Model",
    "NotAllowedError",
    "RateLimitedError",
    "ServiceFailedError",
    "ServiceTimeoutError",
    "TextEvent",
    "Turn",
    "UnknownNameError",
    "UnreachableError",
    "Usage",
]
