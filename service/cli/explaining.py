"""``domainqa search --explain``: how each hit came about, and what packing made of them."""

import asyncio

from rich.table import Table
from rich.text import Text

from rag.types import ChannelScore, Dropped, Explanation, Hit
from service.cli import output, session

_NAMES = {
    "budget": "over the budget",
    "duplicate": "said already",
    "near-duplicate": "nearly said already",
    "merged": "part of a longer passage",
    "window": "shown before, no room for it any longer",
}


def explain(own: session.Session, query: str, collection: str, top_k: int | None, *, as_json: bool) -> None:
    """Run the answer flow up to the prompt, and print what it did."""
    engine = own.running_engine()
    if engine is not None:
        engine.endpoint()  # where none runs, that is told before models are loaded
    own.provide(chat=engine is None)
    explanation = asyncio.run(_explained(own, query, collection, top_k))
    if as_json:
        output.print_json(_as_json(explanation, query, collection))
    elif not explanation.hits:
        output.note(f"nothing found in collection {collection!r}")
    else:
        _print(explanation)


async def _explained(own: session.Session, query: str, collection: str, top_k: int | None) -> Explanation:
    library = own.open()
    try:
        await asyncio.to_thread(library.warm_up)  # else the time told would be that of loading models
        return await library.explain(query, collection, top_k)
    finally:
        await library.aclose()


def _print(explanation: Explanation) -> None:
    console = output.stdout()
    rewriting = explanation.rewriting
    console.print(Text(f"Searched for: {output.one_line(rewriting.query)} (by {rewriting.by})"), soft_wrap=True)
    console.print(_hits(explanation))
    if not explanation.enough:
        console.print("Not enough evidence: the answer would be that the documents do not say.")
    packing = explanation.packing
    if packing is not None:
        of = "" if packing.limit is None else f" of {packing.limit}"
        prompt = "" if explanation.prompt_tokens is None else f"; the whole prompt has {explanation.prompt_tokens}"
        console.print(Text(f"Evidence: {packing.used}{of} tokens{prompt}"))
        for item in explanation.evidence:
            place = f"{output.name(item.source)} {item.start}-{item.end}"
            console.print(Text(f"  [{item.number}] {packing.by_passage.get(item.number, 0):5} tokens  {place}"))
    for each in explanation.neighbours:
        console.print(Text(f"  neighbour: {each.chunk_id[:12]} beside {each.beside[:12]} ({output.name(each.source)})"))
    seconds = ", ".join(f"{step} {taken * 1000:.0f} ms" for step, taken in explanation.timings.items())
    console.print(Text(f"Time: {seconds}"), soft_wrap=True)


def _hits(explanation: Explanation) -> Table:
    channels = sorted({name for hit in explanation.hits for name in hit.channels})
    reranked = any(hit.fused is not None for hit in explanation.hits)
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("", *channels, "fused", *(("reranked",) if reranked else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("document", overflow="fold")
    table.add_column("in the prompt", overflow="fold")
    for rank, hit in enumerate(explanation.hits, start=1):
        cells = [f"{rank}", *(_channel(hit.channels.get(name)) for name in channels)]
        if hit.fused is None:
            cells.append(f"{hit.score:.3f}")
        else:
            cells.append(f"#{hit.fused.rank} {hit.fused.score:.3f}")
        if reranked:
            cells.append(f"{hit.score:.3f}" if hit.score_name == "reranked" else "-")
        chunk = hit.chunk
        table.add_row(*cells, f"{output.name(chunk.source)} {chunk.start}-{chunk.end}", _fate(hit, explanation))
    return table


def _channel(place: ChannelScore | None) -> str:
    return "-" if place is None else f"#{place.rank} {place.score:.3f}"


def _fate(hit: Hit, explanation: Explanation) -> str:
    """The number of the passage that shows the chunk, or why none does."""
    shown = next((item.number for item in explanation.evidence if hit.chunk.id in item.chunk_ids), None)
    dropped = next((each for each in explanation.dropped if each.chunk_id == hit.chunk.id), None)
    if shown is not None:
        return f"[{shown}], {_NAMES[dropped.reason]}" if dropped is not None else f"[{shown}]"
    return "-" if dropped is None else _why(dropped)


def _why(dropped: Dropped) -> str:
    text = _NAMES[dropped.reason]
    if dropped.tokens is not None:
        text += f" with {dropped.tokens} tokens"
    if dropped.similarity is not None:
        text += f", {dropped.similarity:.0%}"
    return f"{text}, by {dropped.because[:12]}" if dropped.because is not None else text


def hit_as_json(hit: Hit) -> dict[str, output.Json]:
    chunk = hit.chunk
    channels: dict[str, output.Json] = {
        name: {"rank": each.rank, "score": each.score, "normalised": each.normalised}
        for name, each in hit.channels.items()
    }
    return {
        "document": chunk.source,
        "document_id": chunk.document_id,
        "title": chunk.title,
        "page": chunk.page,
        "heading_path": list(chunk.heading_path),
        "start": chunk.start,
        "end": chunk.end,
        "score": hit.score,
        "score_name": hit.score_name,
        "text": chunk.text,
        "channels": channels,
    }


def _as_json(explanation: Explanation, query: str, collection: str) -> output.Json:
    rewriting, packing = explanation.rewriting, explanation.packing
    hits: list[output.Json] = [
        {
            **hit_as_json(hit),
            "chunk": hit.chunk.id,
            "date": hit.chunk.date,
            "fused": None if hit.fused is None else {"rank": hit.fused.rank, "score": hit.fused.score},
        }
        for hit in explanation.hits
    ]
    return {
        "query": query,
        "collection": collection,
        "rewriting": {"query": rewriting.query, "by": rewriting.by, "note": rewriting.note},
        "hits": hits,
        "enough_evidence": explanation.enough,
        "evidence": [
            {
                "number": item.number,
                "document": item.source,
                "start": item.start,
                "end": item.end,
                "date": item.date,
                "score": item.score,
                "chunks": list(item.chunk_ids),
                "tokens": None if packing is None else packing.by_passage.get(item.number),
            }
            for item in explanation.evidence
        ],
        "dropped": [
            {
                "chunk": each.chunk_id,
                "document": each.source,
                "reason": each.reason,
                "because": each.because,
                "similarity": each.similarity,
                "tokens": each.tokens,
            }
            for each in explanation.dropped
        ],
        "neighbours": [
            {"chunk": each.chunk_id, "document": each.source, "beside": each.beside} for each in explanation.neighbours
        ],
        "packing": None if packing is None else {"limit": packing.limit, "used": packing.used},
        "prompt_tokens": explanation.prompt_tokens,
        "timings": {step: round(seconds, 6) for step, seconds in explanation.timings.items()},
    }
