"""Precision and recall of the support check and of attribution, on claims made by rule of XQuAD and the sample corpus.

    DOMAINQA_BENCH_DATA=FOLDER python tests/benchmarks/quality/citations.py [--languages en,ru,zh] [--home HOME]

A claim names its passage with a marker (``claims.py`` says how claims are made). A citation is right when it is marked
supported, the claim holds, and the quote overlaps the sentence that the claim was made of. Precision is over citations
that are marked supported, recall over claims that hold; both weigh every kind of claim by its count, and the table by
kind shows the share that was marked supported. In the answer flow the checker knows the question, so that is measured,
too. Attribution is the same without a marker, among all passages of the article. Intervals are a bootstrap over whole
articles or question groups. Without DOMAINQA_BENCH_DATA the sample corpus's train and dev questions alone are measured.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import claims as making
import xquad
from claims import Claim
from clustered import cell, ratio_interval

from rag.analysis import analyze, query_terms
from rag.build import Library
from rag.citing import cite
from rag.config import load_settings
from rag.evaluation.questions import read_questions
from rag.languages import language_by_script
from rag.matching import Similarity, inverse_document_frequency
from rag.types import Citation, Evidence

SAMPLE = Path(__file__).parents[3] / "data" / "sample"
SEED = 7


@dataclass(frozen=True, slots=True)
class Verdict:
    claim: Claim
    supported: bool
    right: bool
    """Supported by a quote that overlaps the sentence that the claim was made of."""


class Corpus:
    """Passages of one language, and how rare their terms are."""

    def __init__(self, passages: Mapping[str, str], language: str) -> None:
        self.passages = passages
        self._language = language
        self._terms = [set(analyze(text, language)) for text in passages.values()]
        self._found: dict[str, int] = {}

    def evidence(self, key: str, number: int = 1) -> Evidence:
        text = self.passages[key]
        return Evidence(number, key, "v", key, "", self._language, 0, len(text), None, "", text, (), 1.0)

    def weights(self, text: str) -> dict[str, float]:
        weights = {}
        for term in query_terms(text, [self._language]):
            if term not in self._found:
                self._found[term] = sum(term in terms for terms in self._terms)
            weights[term] = inverse_document_frequency(self._found[term], len(self._terms))
        return weights


def judge(
    claim: Claim, passages: Sequence[str], corpus: Corpus, similarity: Similarity, *, marked: bool, asked: bool
) -> Verdict:
    """``passages`` are the keys of those that an unmarked claim could be attributed to."""
    chosen = [claim.passage] if marked else passages
    evidence = [corpus.evidence(key, number) for number, key in enumerate(chosen, start=1)]
    line = " ".join(claim.text.split())
    text = f"{line} [1]" if marked else line
    cited = cite(text, evidence, similarity, lambda *_: None, corpus.weights(line), claim.question if asked else None)
    held = [citation for citation in cited.citations if citation.supported]
    return Verdict(claim, bool(cited.supported), any(_is_right(claim, citation) for citation in held))


def _is_right(claim: Claim, citation: Citation) -> bool:
    if claim.gold is None or citation.document_id != claim.passage:
        return False
    return min(citation.end, claim.gold[1]) > max(citation.start, claim.gold[0])


def summary(name: str, verdicts: Sequence[Verdict]) -> str:
    clusters = [verdict.claim.cluster for verdict in verdicts]
    right = [float(verdict.supported and verdict.right) for verdict in verdicts]
    precision = ratio_interval(right, [float(verdict.supported) for verdict in verdicts], clusters)
    recall = ratio_interval(right, [float(verdict.claim.holds) for verdict in verdicts], clusters)
    hold = sum(verdict.claim.holds for verdict in verdicts)
    return f"| {name} | {hold} | {len(verdicts) - hold} | {cell(precision)} | {cell(recall)} |"


def by_kind(tables: Mapping[str, Sequence[Verdict]]) -> str:
    kinds = list(dict.fromkeys(verdict.claim.kind for verdicts in tables.values() for verdict in verdicts))
    lines = [f"| kind | {' | '.join(tables)} |", f"| --- |{' --- |' * len(tables)}"]
    for kind in kinds:
        cells = []
        for verdicts in tables.values():
            own = [verdict.supported for verdict in verdicts if verdict.claim.kind == kind]
            cells.append(f"{sum(own) / len(own):.3f} of {len(own)}" if own else "")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def xquad_claims(language: str) -> tuple[Corpus, list[Claim]]:
    passages, golds = xquad.read(xquad.folder(), language)
    asked = [(gold.text, gold.answers[0], gold.source, gold.article, gold.start) for gold in golds]
    return Corpus(passages, language), making.claims(making.facts(asked, passages, language), language, SEED)


def sample_claims(library: Library, language: str) -> tuple[Corpus, list[Claim]]:
    """Each document is a passage; the questions' quotes are the sentences."""
    library.ingest([SAMPLE / "documents"])
    asked, passages = [], {}
    for question in read_questions(SAMPLE / "questions.jsonl"):
        if question.language != language or question.split not in ("train", "dev") or len(question.evidence) != 1:
            continue
        item = question.evidence[0]
        text = library.document("default", item.document).text
        if language_by_script(item.quote) != language:
            continue  # asked across languages: no comparison of words can tell
        passages[item.document] = text
        answer = next((each for each in question.answers if each in item.quote), None)
        if answer is not None and not question.history:
            place = text.index(item.quote) + item.quote.index(answer)
            asked.append((question.question, answer, item.document, question.group, place))
    return Corpus(passages, language), making.claims(making.facts(asked, passages, language), language, SEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", default="en,ru,zh")
    parser.add_argument("--home", type=Path, required=True, help="where the sample corpus is ingested")
    parser.add_argument("--without-embedder", action="store_true", help="judge by words alone in English, too")
    parser.add_argument("--show", metavar="KIND", help="print the wrongly judged claims of this kind")
    arguments = parser.parse_args()
    library = Library(arguments.home, load_settings(arguments.home, environment={}))
    similarity = Similarity(library.embedder(), ["none"]) if arguments.without_embedder else library.similarity()
    sets = {}
    for language in arguments.languages.split(","):
        if "DOMAINQA_BENCH_DATA" in os.environ:
            sets[f"XQuAD {language}"] = xquad_claims(language)
        sets[f"sample {language}"] = sample_claims(library, language)
    ways = {
        "With a marker": (True, False),
        "With a marker and the question": (True, True),
        "Attributed": (False, False),
    }
    for way, (marked, asked) in ways.items():
        tables = {}
        for name, (corpus, made) in sets.items():
            chosen = made if marked else [claim for claim in made if claim.kind != "other passage"]
            near: dict[str, list[str]] = {}
            for claim in made:
                keys = near.setdefault(claim.cluster, [])
                keys += [claim.passage] if claim.passage not in keys else []
            tables[name] = [
                judge(claim, near[claim.cluster], corpus, similarity, marked=marked, asked=asked) for claim in chosen
            ]
        print(f"\n### {way}\n")
        print("| set | claims that hold | that don't | precision | recall |\n| --- | --- | --- | --- | --- |")
        for name, verdicts in tables.items():
            print(summary(name, verdicts))
        print(f"\nShare marked supported:\n\n{by_kind(tables)}", flush=True)
        if arguments.show:
            for name, verdicts in tables.items():
                for verdict in verdicts:
                    if verdict.claim.kind == arguments.show and verdict.right != verdict.claim.holds:
                        print(f"\n{name} {verdict.claim.passage}: {verdict.claim.text}")


if __name__ == "__main__":
    main()
