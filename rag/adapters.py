"""Which adapters can be asked for: those that the settings name, and those of a source that may change as we run."""

from collections.abc import Mapping, Sequence

from rag.errors import ConfigError, NotFoundError
from rag.interfaces import AdapterSource
from rag.types import Adapter


class KnownAdapters:
    """Names to adapters. Says what is known where a name isn't."""

    def __init__(self, configured: Mapping[str, str], source: AdapterSource | None = None) -> None:
        """``configured`` are names to folders; a model server knows its adapters by name alone."""
        self._configured = dict(configured)
        self.source = source

    def names(self) -> Sequence[str]:
        """Everything that can be asked for now, sorted."""
        return sorted({*self._configured, *(self.source.names() if self.source is not None else ())})

    def find(self, reference: str) -> Adapter:
        """Raises ``NotFoundError`` naming what there is, and what the source raises."""
        found = self.source.find(reference) if self.source is not None else None
        folder = self._configured.get(reference)
        if found is not None and folder is not None:
            raise ConfigError(
                f"generation.adapters has {reference!r}, which the registry of adapters has too, as {found.name}; "
                "give one of them another name"
            )
        if folder is not None:
            return Adapter(reference, folder)
        if found is None:
            known = ", ".join(self.names()) or "none"
            raise NotFoundError(f"there is no adapter {reference!r}; there are: {known}")
        return found
