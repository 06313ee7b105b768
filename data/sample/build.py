"""Build the sample corpus: `python data/sample/build.py [--check]`.

Makes the PDF, Word and Excel files of `documents/` from `sources/`, and `questions.jsonl` from `authored/` and the
parsed documents. With `--check` nothing is written: the run fails where what is on disk differs from what it would
write. Needs the `dev` extra (reportlab, python-docx, openpyxl).
"""

import argparse
import sys
from pathlib import Path

from questioning import Problems, all_questions, read_groups
from rendering import render

from rag.documents.discovery import discover
from rag.documents.parsing import parse

HERE = Path(__file__).parent


def rendered_documents(root: Path) -> dict[Path, bytes]:
    """What belongs below `documents/`: `sources/FAMILY/NAME.pdf.md` gives `documents/FAMILY/NAME.pdf`."""
    outputs = {}
    for source in sorted((root / "sources").glob("*/*.*.*")):
        target = root / "documents" / source.parent.name / source.stem
        outputs[target] = render(target.name, source.read_text("utf-8"))
    return outputs


def questions_text(root: Path, problems: Problems) -> str:
    """The lines of `questions.jsonl`, from the documents that are on disk."""
    documents = {file.source: parse(file.path, file.source) for file in discover([root / "documents"])}
    groups = read_groups(root / "authored", problems)
    for name in sorted(documents.keys() - {name for group in groups.values() for name in group.documents}):
        problems.add(f"{name} belongs to no group")
    for group in groups.values():
        for name in sorted(set(group.documents) - documents.keys()):
            problems.add(f"the group {group.name} names {name}, which is not there")
    questions = all_questions(root / "authored", documents, groups, problems)
    return "".join(question.line() + "\n" for question in questions)


def build(root: Path, *, check: bool) -> list[str]:
    """Problems and, with ``check``, what differs, one a line; empty when all is well."""
    problems = Problems()
    for path, content in rendered_documents(root).items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        elif not path.is_file() or path.read_bytes() != content:
            problems.add(f"{path.relative_to(root)} differs from its source: run build.py")
    text = questions_text(root, problems)
    target = root / "questions.jsonl"
    if not check and not problems.found:
        target.write_text(text, "utf-8")
    elif check and (not target.is_file() or target.read_text("utf-8") != text):
        problems.add("questions.jsonl differs from authored/: run build.py")
    return problems.found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where something differs")
    problems = build(HERE, check=parser.parse_args().check)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
