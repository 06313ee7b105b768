"""What answers cost: tokens and the machine's time by a table of prices, read from TOML."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from rag.errors import UsageError
from rag.evaluation.records import AnswerRecord, Prices

_MILLION = 1_000_000
_HOUR_S = 3600.0


def read_prices(path: Path) -> Prices:
    """Keys: currency, prompt_per_million, cached_per_million, output_per_million, per_hour."""
    try:
        return Prices.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the prices {path} cannot be read: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"{path}: {faults}") from error


def money(answer: AnswerRecord, prices: Prices) -> float:
    cached = answer.tokens.cached or 0
    per_cached = prices.prompt_per_million if prices.cached_per_million is None else prices.cached_per_million
    tokens = (
        (answer.tokens.prompt - cached) * prices.prompt_per_million
        + cached * per_cached
        + answer.tokens.output * prices.output_per_million
    )
    return tokens / _MILLION + answer.machine_s / _HOUR_S * prices.per_hour
