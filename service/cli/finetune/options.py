"""Options that several commands of ``domainqa finetune`` share, and what they stand for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from finetune.cleaning.decontamination import Decontaminator

Against = Annotated[
    list[Path] | None,
    typer.Option(
        "--against", metavar="QUESTIONS", help="A question file whose questions must not be trained on; several."
    ),
]
AgainstSplit = Annotated[
    list[str] | None,
    typer.Option("--against-split", metavar="NAME", help="Only the questions of this split of it; several."),
]
AllowSameFacts = Annotated[
    bool,
    typer.Option(
        "--allow-same-facts", help="Keep what asks for a question's fact in other words, as a by-question split does."
    ),
]


def decontaminator(
    against: list[Path] | None, splits: list[str] | None, *, allow_same_facts: bool
) -> "Decontaminator | None":
    """``None`` where no file was named. Raises ``UsageError`` where the files have no such questions."""
    from finetune.cleaning.decontamination import Decontaminator
    from rag.errors import UsageError
    from rag.evaluation.questions import read_questions

    if not against:
        if splits or allow_same_facts:
            raise typer.BadParameter("--against-split and --allow-same-facts need --against")
        return None
    read = [question for path in against for question in read_questions(path)]
    chosen = [question for question in read if not splits or question.split in splits]
    if not chosen:
        told = f" of split {', '.join(sorted(splits))}" if splits else ""
        raise UsageError(f"{', '.join(map(str, against))}: there are no questions{told}")
    return Decontaminator(chosen, same_facts=not allow_same_facts)
