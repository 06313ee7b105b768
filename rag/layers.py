"""What overrides the settings' defaults, as it was written: the profile, the file, the environment.

Knows no setting by name; ``config`` checks what comes together here.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag.errors import ConfigError

CONFIG_FILE = "domainqa.toml"
DEFAULT_PROFILE = "starter"
_VARIABLES = "DOMAINQA_"


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings of one origin, as they were written: unchecked, the environment's all text."""

    origin: Literal["profile", "file", "environment"]
    where: str
    """The profile's name, the file's path, or the beginning of the variables' names."""
    values: Mapping[str, object]


def read_layers(
    home: Path,
    *,
    config: Path | None = None,
    profile: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Layer, ...]:
    """What overrides the defaults, later ones win; the first is the profile. Raises ``ConfigError`` as below."""
    environment = os.environ if environment is None else environment
    path = config or home / CONFIG_FILE
    if config is not None and not config.is_file():
        raise ConfigError(f"there is no configuration file {config}")
    from_file = _read_toml(path) if path.is_file() else {}
    name = profile or environment.get("DOMAINQA_PROFILE") or from_file.get("profile") or DEFAULT_PROFILE
    if name not in profile_names():
        raise ConfigError(f"there is no profile {name!r}; there are: {', '.join(profile_names())}")
    return (
        Layer("profile", str(name), _read_toml(profiles_folder() / f"{name}.toml")),
        Layer("file", str(path), from_file),
        Layer("environment", _VARIABLES, _from_environment(environment)),
    )


def profiles_folder() -> Path:
    """Where the shipped profiles lie: in the package when installed, in ``data/`` in a checkout."""
    installed = Path(__file__).parent / "profiles"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "data" / "profiles"


def profile_names() -> list[str]:
    return sorted(path.stem for path in profiles_folder().glob("*.toml"))


def merged(layers: Sequence[Layer]) -> dict[str, object]:
    """One layer over the other."""
    together: dict[str, object] = {}
    for layer in layers:
        together = _merge(together, layer.values)
    return together


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """``DOMAINQA_SERVER__PORT=9000`` to ``{"server": {"port": "9000"}}``; pydantic makes the types."""
    sections: dict[str, object] = {}
    for key, value in environment.items():
        section, separator, name = key.removeprefix(_VARIABLES).partition("__")
        if key.startswith(_VARIABLES) and separator:
            entry = sections.setdefault(section.lower(), {})
            assert isinstance(entry, dict)
            entry[name.lower()] = value
    return sections


def _merge(base: Mapping[str, object], layer: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in layer.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
