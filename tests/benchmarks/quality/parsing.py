"""Read every file of a folder as an ingest does, in worker processes, and count what became of them.

    DOMAINQA_BENCH_DATA=FOLDER python tests/benchmarks/quality/parsing.py

Reads ``docs/`` below the folder: real files, many of them encrypted, scanned, damaged or odd.
"""

import argparse
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rag.config import ParsingSettings
from rag.documents.discovery import discover
from rag.documents.workers import ParsingWorkers
from rag.errors import SourceError

DATA = "DOMAINQA_BENCH_DATA"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slowest", type=int, default=5, help="how many of the slowest files to name")
    parser.add_argument("--password", action="append", default=[], help="to try on encrypted files; may be repeated")
    options = parser.parse_args(arguments)
    folder = Path(os.environ.get(DATA, "")) / "docs"
    if DATA not in os.environ or not folder.is_dir():
        sys.exit(f"set {DATA} to a folder that holds docs/")
    files = discover([folder])
    workers = ParsingWorkers(ParsingSettings(), options.password)
    workers.parse(files[0].path, files[0].source)  # a process's start is no file's time
    reasons: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    read: Counter[str] = Counter()
    attached = 0
    try:
        for file in files:
            started = time.perf_counter()
            try:
                parsed = workers.parse(file.path, file.source)
                read[parsed.document.media_type] += 1
                attached += len(parsed.attachments)
                for failure in parsed.failures:
                    reasons.setdefault(_kind(f"attachment: {failure.reason}"), []).append(failure.source)
            except SourceError as error:
                reasons.setdefault(_kind(str(error)), []).append(file.source)
            seconds[file.source] = time.perf_counter() - started
    finally:
        workers.close()
    print(f"{len(files)} files, {read.total()} read, {attached} attachments read, {sum(seconds.values()):.1f} s")
    for media_type, count in read.most_common():
        print(f"  {count:4} {media_type}")
    print("refused:")
    for reason, sources in sorted(reasons.items(), key=lambda entry: -len(entry[1])):
        print(f"  {len(sources):4} {reason}: {', '.join(sources)}")
    print("slowest:")
    for source in sorted(seconds, key=lambda source: -seconds[source])[: options.slowest]:
        print(f"  {seconds[source]:6.2f} s  {source}")


def _kind(reason: str) -> str:
    """The reason without what follows of advice and details."""
    return re.split("; |: (?!the)", reason)[0]


if __name__ == "__main__":
    main()
