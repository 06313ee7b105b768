"""The cards to plan with and what an hour of them costs: a dated table, and yours over it."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.errors import ConfigError, NotFoundError

_TABLE = Path(__file__).with_name("hardware.toml")


class Gpu(BaseModel):
    """Peaks in 10^12 operations a second, dense; memory in 10^9 bytes; bandwidth in 10^9 bytes a second."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    memory_gb: float = Field(gt=0)
    bf16_tflops: float = Field(gt=0)
    fp32_tflops: float = Field(gt=0)
    bandwidth_gb_s: float = Field(gt=0)
    price_per_hour: float | None = Field(None, ge=0)


class PriceTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: str
    """When the prices were looked up: a year and month."""
    currency: str
    gpus: dict[str, Gpu]

    def gpu(self, key: str) -> Gpu:
        """Raises ``NotFoundError`` naming what there is."""
        if key not in self.gpus:
            known = ", ".join(sorted(self.gpus))
            raise NotFoundError(f"there is no card {key!r} in the table; there are: {known}; --prices FILE adds yours")
        return self.gpus[key]


def read_prices(own: Path | None = None) -> PriceTable:
    """The shipped table with ``own`` laid over it, key by key. Raises ``ConfigError``.

    A file that brings prices says of when they are (``as_of``), and of all cards' prices only its own are kept: two
    dates or currencies would not add up.
    """
    table = tomllib.loads(_TABLE.read_text("utf-8"))
    if own is not None:
        try:
            given = tomllib.loads(own.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"the prices in {own} cannot be read: {error}") from error
        missing = [key for key in ("as_of", "currency") if key not in given]
        if missing:
            raise ConfigError(f'{own} does not say {" and ".join(missing)}; add for example as_of = "2026-11"')
        for gpu in table["gpus"].values():
            gpu.pop("price_per_hour", None)
        cards = given.pop("gpus", {})
        if not isinstance(cards, dict) or not all(isinstance(card, dict) for card in cards.values()):
            raise ConfigError(f"{own}: each card is a table of its own, such as [gpus.a100-80]")
        for key, card in cards.items():
            table["gpus"][key] = {**table["gpus"].get(key, {}), **card}
        table |= given
    try:
        return PriceTable.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{own}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
