"""How files are to be read. Loads nothing, so that whoever only hands it on stays light."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    passwords: tuple[str, ...] = ()
    """Tried in order on encrypted PDF files."""
    ocr: bool = True
    """Whether images and scanned pages are read by Tesseract, where it is installed."""
