"""A home to try the catalog, the indexes and the ingest in, with a parser and a chunker predictable by hand."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rag.catalog import Catalog, NewVersion, text_hash
from rag.documents.discovery import SourceFile
from rag.errors import SourceError
from rag.fakes import FakeEmbedder
from rag.ingestion import IngestProgress, ingest
from rag.preparing import Pipeline
from rag.syncing import Sync
from rag.types import (
    Chunk,
    Collection,
    Document,
    Failure,
    IngestReport,
    Page,
    ParsedFile,
    Section,
    Table,
    embedded_text,
)


class LineChunker:
    """A chunk for every line that is not blank; its context is the title."""

    def __init__(self, fingerprint: str = "lines-1") -> None:
        self.fingerprint = fingerprint

    def chunk(self, document: Document) -> list[Chunk]:
        lines = re.finditer(r"[^\n]+", document.text)
        return [Chunk(m[0], document.title, m.start(), m.end(), (document.title,), page=1) for m in lines]


def make_document(source: str, text: str, language: str | None = "en", version: str | None = None) -> Document:
    return Document(
        source=source,
        title=f"About {source}",
        text=text,
        media_type="text/plain",
        version=version or hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        language=language,
        date="2024-03-12",
        sections=(Section(("Top", "Part"), 0, len(text)),),
        pages=(Page(1, 0, len(text)),),
        tables=(Table(0, min(3, len(text)), text[:3]),),
    )


class WorkshopParser:
    """The workshop's ``parse`` as an ingest takes it."""

    parallel = 1

    def __init__(self, parse: Callable[[Path, str], ParsedFile | Document], fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._parse = parse

    def parse(self, path: Path, source: str) -> ParsedFile:
        parsed = self._parse(path, source)
        return ParsedFile(parsed) if isinstance(parsed, Document) else parsed

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


class Workshop:
    """A home with a catalog, a folder of files, and what is needed to fill the one from the other."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.files = folder / "files"
        self.files.mkdir(exist_ok=True)
        self.catalog = Catalog.open(self.home)
        self.embedder = FakeEmbedder()
        self.chunker = LineChunker()
        self.parser_fingerprint = "plain-1"
        self.parsed: list[str] = []

    # --- straight into the catalog ---

    def collection(self, name: str = "default", tenant: str = "default") -> Collection:
        return self.catalog.create_collection(name, self.embedder, tenant)

    def put(self, collection: Collection, source: str, text: str, language: str | None = "en") -> int:
        """Store a version of a document with its vectors; the number of the change."""
        document = make_document(source, text, language)
        new = NewVersion(document, tuple(self.chunker.chunk(document)), f"/{source}", len(text), "plain-1", "lines-1/x")
        texts = {text_hash(chunk): embedded_text(chunk.context, chunk.text) for chunk in new.chunks}
        self.catalog.add_vectors(collection.embedder, list(texts), self.embedder.embed_documents(list(texts.values())))
        assert self.catalog.store(collection, new) == set()
        return self.catalog.last_seq(collection.id)

    # --- by way of files ---

    def write(self, **texts: str) -> None:
        for name, text in texts.items():
            (self.files / f"{name}.txt").write_text(text, "utf-8")

    def parse(self, path: Path, source: str) -> Document:
        self.parsed.append(source)
        text = path.read_text("utf-8", "surrogateescape")
        if "BROKEN" in text:
            raise SourceError("the file is damaged")
        version = hashlib.sha256(path.read_bytes()).hexdigest()
        return make_document(source, text, version=version)

    def discover(self, paths: Sequence[Path], skipped: list[Failure]) -> list[SourceFile]:
        files = (file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.txt"))))
        return [SourceFile(file, file.relative_to(self.files).as_posix()) for file in files]

    def pipeline(self) -> Pipeline:
        parser = WorkshopParser(self.parse, self.parser_fingerprint)
        return Pipeline(self.discover, parser, self.chunker, self.embedder, batch_size=4)

    def ingest(
        self,
        *paths: Path,
        name: str = "default",
        progress: list[IngestProgress] | None = None,
        sync: Sync | None = None,
    ) -> IngestReport:
        callback = None if progress is None else progress.append
        paths = paths or (self.files,)
        return ingest(self.home, self.catalog, name, paths, self.pipeline(), progress=callback, sync=sync)
