"""Which adapters can be asked for: those that the settings name, and those of a source that may change as we run."""

from collections.abc import Mapping, Sequence

from rag.errors import ConfigError, NotFoundError
from rag.interfaces import AdapterSource
from rag.types import DEFAULT_TENANT, Adapter


class KnownAdapters:
    """Names to adapters. Says what is known where a name isn't.

    All belong to the default tenant, for nothing tells whose documents they repeat. Other tenants have none.
    """

    def __init__(self, configured: Mapping[str, str], source: AdapterSource | None = None) -> None:
        """``configured`` are names to folders; a model server knows its adapters by name alone."""
        self._configured = dict(configured)
        self.source = source

    def names(self, tenant: str = DEFAULT_TENANT) -> Sequence[str]:
        """Everything that can be asked for now, sorted."""
        if tenant != DEFAULT_TENANT:
            return []
        return sorted({*self._configured, *(self.source.names() if self.source is not None else ())})

    def find(self, reference: str, tenant: str = DEFAULT_TENANT) -> Adapter:
        """Raises ``NotFoundError`` naming what there is, and what the source raises."""
        own = tenant == DEFAULT_TENANT
        found = self.source.find(reference) if own and self.source is not None else None
        folder = self._configured.get(reference) if own else None
        if found is not None and folder is not None:
            raise ConfigError(
                f"generation.adapters has {reference!r}, which the registry of adapters has too, as {found.name}; "
                "give one of them another name"
            )
        if folder is not None:
            return Adapter(reference, folder)
        if found is None:
            known = ", ".join(self.names(tenant)) or "none"
            raise NotFoundError(f"there is no adapter {reference!r}; there are: {known}")
        return found
