"""Files to documents: finding them, reading each format, telling the language."""
