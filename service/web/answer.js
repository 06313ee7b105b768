// One exchange on the page: the question, the text as it comes, then citations, sources and notes.

import { codePoints, element, plural } from "./dom.js";

export class Exchange {
  // `openSource(span, button)` shows a document; `askAgain(question)` asks once more.
  constructor(question, openSource, askAgain) {
    this.question = question;
    this.openSource = openSource;
    this.askAgain = askAgain;
    this.text = "";
    this.shown = new Map();
    this.body = element("div", { class: "text" });
    this.working = element("p", { class: "working" }, element("span", { class: "pulse", "aria-hidden": "true" }), "Reading the documents…");
    this.after = element("div", { class: "after" });
    this.article = element("article", { class: "answer", "aria-busy": "true" }, this.working, this.body, this.after);
    this.item = element("li", {}, element("h2", { class: "question" }, question), this.article);
  }

  add(text) {
    if (text === "") return;
    this.text += text;
    this.working.hidden = true;
    this.body.append(renumbered(text, this.shown));
  }

  // The end of a complete answer. Returns what a screen reader should be told.
  finish(details, finishReason) {
    this._rest();
    if (details.abstained) this.article.classList.add("abstained");
    if (details.abstained) this._nearest(details);
    else this.body.replaceChildren(...this._cited(details));
    for (const [kind, note] of notes(details, finishReason, this.text)) this.after.append(element("p", { class: `note ${kind}` }, note));
    this._sources(details);
    this._evidence(details);
    this.after.append(element("p", { class: "meta" }, meta(details)));
    if (details.abstained) return "The documents don’t say.";
    return `Answer complete, ${plural(sources(details.citations).length, "source", "sources")}.`;
  }

  stopped() {
    this._rest();
    const what = this.text ? "You stopped this answer; it is incomplete and was not checked." : "You stopped before an answer came.";
    this.after.append(element("p", { class: "note" }, what));
    return "Stopped.";
  }

  failed(message) {
    this._rest();
    const told = this.text ? `The answer broke off, and what stands above was not checked. ${message}` : message;
    const again = element("button", { type: "button", class: "again", onclick: () => this.askAgain(this.question) }, "Ask again");
    this.after.append(element("div", { class: "note error", role: "alert" }, element("p", {}, told), again));
    return "";
  }

  _rest() {
    this.working.hidden = true;
    this.article.setAttribute("aria-busy", "false");
  }

  // The text with its markers as buttons and its unsupported sentences marked.
  _cited(details) {
    const points = codePoints(this.text);
    const { citations } = details;
    const printed = markers(points).filter((found) => citations.some((each) => found.numbers.includes(each.marker)));
    const added = citations.filter(
      (each) => !printed.some((found) => found.numbers.includes(each.marker) && covers(each, found.start)),
    );
    const cuts = new Set([0, points.length]);
    for (const each of citations) cuts.add(clamp(each.answer_start, points)).add(clamp(each.answer_end, points));
    for (const found of printed) cuts.add(found.start).add(found.end);
    const edges = [...cuts].sort((a, b) => a - b);
    const nodes = [];
    edges.forEach((start, index) => {
      const missing = added.filter((each) => clamp(each.answer_end, points) === start);
      for (const each of unique(missing, (one) => one.marker)) nodes.push(this._marker(each, details));
      const end = edges[index + 1];
      if (end === undefined) return;
      const marker = printed.find((found) => found.start <= start && end <= found.end);
      if (marker) {
        if (marker.start !== start) return;
        for (const number of marker.numbers) {
          const citation = nearest(citations, number, start);
          nodes.push(citation ? this._marker(citation, details) : `[${number}]`);
        }
        return;
      }
      const text = points.slice(start, end).join("");
      const claims = citations.filter((each) => each.answer_start <= start && end <= each.answer_end);
      const doubtful = claims.length > 0 && !claims.some((each) => each.supported);
      nodes.push(doubtful ? element("span", { class: "doubtful" }, text) : text);
    });
    return nodes;
  }

  _marker(citation, details) {
    const place = citation.page === null ? "" : `, page ${citation.page}`;
    const doubt = citation.supported ? "" : " (does not support this sentence)";
    const name = `Source ${citation.number}: ${citation.title}${place}${doubt}`;
    return element(
      "button",
      {
        type: "button",
        class: citation.supported ? "marker" : "marker unsupported",
        title: name,
        "aria-label": name,
        onclick: (event) => this._open(citation, details, event.currentTarget),
      },
      String(citation.number),
    );
  }

  _sources(details) {
    const cited = sources(details.citations);
    if (cited.length === 0) return;
    this.after.append(
      element("h3", {}, "Sources"),
      element("ol", { class: "sources" }, ...cited.map((each) => element("li", {}, this._source(each, details)))),
    );
  }

  _source(citation, details) {
    return element(
      "button",
      { type: "button", class: "source", onclick: (event) => this._open(citation, details, event.currentTarget) },
      element("span", { class: citation.supported ? "number" : "number unsupported" }, String(citation.number)),
      element(
        "span",
        { class: "about" },
        element(
          "span",
          { class: "title" },
          citation.title,
          citation.page === null ? null : element("span", { class: "page" }, `page ${citation.page}`),
          citation.supported ? null : element("span", { class: "flag doubt" }, "does not support the sentence"),
          citation.recognised ? element("span", { class: "flag" }, "read by OCR") : null,
          citation.attributed ? element("span", { class: "flag" }, "found afterwards") : null,
        ),
        element("span", { class: "quote" }, citation.quote),
      ),
    );
  }

  _nearest(details) {
    if (details.nearest.length === 0) return;
    // The text ends with these documents as a list, for readers without a page; here they can be opened instead.
    const list = details.nearest.map((each) => `- ${each.title} (${each.document})`).join("\n");
    const listed = this.text.endsWith(list);
    if (listed) this.body.textContent = this.text.slice(0, -list.length).trimEnd();
    const items = details.nearest.map((each) =>
      element(
        "li",
        {},
        element(
          "button",
          { type: "button", class: "source", onclick: (event) => this._open({ ...each, start: null, end: null }, details, event.currentTarget) },
          element("span", { class: "about" }, element("span", { class: "title" }, each.title), element("span", { class: "quote" }, each.document)),
        ),
      ),
    );
    if (!listed) this.after.append(element("h3", {}, "Closest documents"));
    this.after.append(element("ul", { class: "sources" }, ...items));
  }

  _evidence(details) {
    if (details.evidence.length === 0) return;
    const number = new Map(details.citations.map((each) => [each.marker, each.number]));
    const items = details.evidence.map((each) =>
      element(
        "li",
        {},
        element(
          "button",
          { type: "button", class: "passage", onclick: (event) => this._open(each, details, event.currentTarget) },
          element("span", { class: "number plain" }, String(number.get(each.number) ?? "–")),
          `${each.title}${each.page === null ? "" : `, page ${each.page}`}`,
        ),
      ),
    );
    this.after.append(
      element(
        "details",
        { class: "evidence" },
        element("summary", {}, plural(details.evidence.length, "passage was read", "passages were read")),
        element("ul", {}, ...items),
      ),
    );
  }

  _open(span, details, button) {
    this.openSource({ ...span, collection: details.collection }, button);
  }
}

function notes(details, finishReason, text) {
  const found = [];
  if (details.fallback !== null) {
    found.push(["", "Verbatim sentences from the documents, because the model’s own answer wasn’t supported by them."]);
  } else if (!details.abstained && details.supported === false) {
    found.push(["doubt", "Parts of this answer are not supported by the documents. They are underlined; check them at the source."]);
  }
  // Verbatim sentences say it in their own text; a model's answer may not.
  for (const each of details.conflicts ?? []) if (!text.includes(each.note)) found.push(["conflict", each.note]);
  if (details.abstained) {
    found.push(["", "Nothing in this collection answers the question well enough. Try other words, or another collection."]);
  } else if (details.supported === null) {
    found.push(["doubt", "Answered without the documents, from what the model remembers. Nothing was checked."]);
  }
  if (finishReason === "length") found.push(["", "The answer was cut at the limit of its length."]);
  return found;
}

function meta(details) {
  const parts = [details.strategy];
  if (details.engine_model) parts.push(details.engine_model);
  if (details.timings.total !== undefined) parts.push(details.timings.total < 0.1 ? "under 0.1 s" : `${details.timings.total.toFixed(1)} s`);
  return parts.join(" · ");
}

// `[3]` and `[1, 2]` in the text, as spans in code points.
function markers(points) {
  const found = [];
  for (let start = 0; start < points.length; start += 1) {
    if (points[start] !== "[") continue;
    let end = start + 1;
    while (end < points.length && /[0-9, ]/.test(points[end])) end += 1;
    const numbers = points.slice(start + 1, end).join("").split(",").map((part) => part.trim());
    if (points[end] === "]" && numbers.every((part) => /^[0-9]+$/.test(part))) {
      found.push({ start, end: end + 1, numbers: numbers.map(Number) });
    }
  }
  return found;
}

const covers = (citation, offset) => citation.answer_start <= offset && offset <= citation.answer_end + 1;
const clamp = (offset, points) => Math.min(Math.max(offset, 0), points.length);

// Evidence numbers run through the conversation; readers see them in the order of their first use in this answer.
// A piece of the stream never cuts a marker in two.
function renumbered(text, shown) {
  return text.replace(/\[([0-9]+)\]/g, (_, number) => {
    if (!shown.has(number)) shown.set(number, shown.size + 1);
    return `[${shown.get(number)}]`;
  });
}

// The citation that a printed marker stands for: that of its own sentence, else the closest one before it.
function nearest(citations, number, offset) {
  const same = citations.filter((each) => each.marker === number);
  const before = same.filter((each) => each.answer_end <= offset).sort((a, b) => b.answer_end - a.answer_end);
  return same.find((each) => covers(each, offset)) ?? before[0] ?? same[0];
}

function sources(citations) {
  const ordered = [...citations].sort((a, b) => a.number - b.number || a.start - b.start);
  return unique(ordered, (each) => `${each.marker} ${each.start} ${each.end} ${each.supported}`);
}

function unique(items, key) {
  const seen = new Map();
  for (const item of items) if (!seen.has(key(item))) seen.set(key(item), item);
  return [...seen.values()];
}
