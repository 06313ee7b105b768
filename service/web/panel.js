// The document panel: a passage in its context, highlighted. A side panel on wide screens, a sheet on narrow ones.

import { documentPath, getJson } from "./api.js";
import { codePoints, element } from "./dom.js";

const AROUND = 1500;
const MORE = 4000;
const OPENING = 4000;

export class Panel {
  // `page` is what lies beneath the sheet on a narrow screen and is out of reach while it is open.
  constructor(page) {
    this.page = page;
    this.panel = document.getElementById("panel");
    this.backdrop = document.getElementById("backdrop");
    this.title = document.getElementById("panel-title");
    this.place = document.getElementById("panel-place");
    this.heading = document.getElementById("panel-heading");
    this.note = document.getElementById("panel-note");
    this.body = document.getElementById("panel-body");
    this.narrow = window.matchMedia("(max-width: 900px)");
    this.opener = null;
    this.asked = 0;
    document.getElementById("panel-close").addEventListener("click", () => this.close());
    this.backdrop.addEventListener("click", () => this.close());
    this.narrow.addEventListener("change", () => this._reach());
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  // `source`: {collection, document_id, document, title, page, start, end, quote}; without a span, the document's beginning.
  async open(source, opener) {
    this.asked += 1;
    const asked = this.asked;
    this.opener?.removeAttribute("aria-expanded");
    this.opener = opener;
    opener.setAttribute("aria-expanded", "true");
    this.title.textContent = source.title;
    this.place.textContent = [source.document, source.page ? `page ${source.page}` : null].filter(Boolean).join(" · ");
    this.heading.textContent = "";
    this.note.hidden = true;
    this.body.replaceChildren(element("p", { class: "quiet" }, "Opening the document…"));
    this.panel.hidden = false;
    this.backdrop.hidden = false;
    this._reach();
    this.title.focus({ preventScroll: true });
    const span = source.start === null ? { start: 0, end: OPENING } : { start: source.start, end: source.end, around: AROUND };
    try {
      const found = await getJson(documentPath(source.collection, source.document_id, span));
      if (asked === this.asked) this._show(source, found);
    } catch (error) {
      if (asked === this.asked) this.body.replaceChildren(element("p", { class: "note error", role: "alert" }, error.message));
    }
  }

  close() {
    if (!this.isOpen) return;
    this.asked += 1;
    this.panel.hidden = true;
    this.backdrop.hidden = true;
    this._reach();
    this.opener?.removeAttribute("aria-expanded");
    this.opener?.focus();
    this.opener = null;
  }

  _reach() {
    this.page.inert = this.isOpen && this.narrow.matches;
    document.body.classList.toggle("reading", this.isOpen);
  }

  _show(source, found) {
    const points = codePoints(found.text);
    const at = (offset) => Math.min(Math.max(offset - found.start, 0), points.length);
    const text = (start, end) => points.slice(at(start), at(end)).join("");
    const section = source.start === null ? null : found.sections.find((each) => each.start <= source.start && source.start < each.end);
    this.heading.textContent = section ? section.heading_path.join(" › ") : "";
    const moved = source.quote !== undefined && text(source.start, source.end) !== source.quote;
    this.note.textContent = moved ? "The document has changed since this answer; the marked place may be another one." : "";
    this.note.hidden = !moved;

    const marked = source.start === null ? [found.end, found.end] : [source.start, source.end];
    const pages = found.pages.filter((each) => each.start >= found.start && each.start < found.end);
    const lines = headingLines(found, points);
    const edges = new Set([found.start, found.end, ...pages.map((each) => each.start), ...lines.flat()]);
    for (const edge of marked) edges.add(Math.min(Math.max(edge, found.start), found.end));
    const sorted = [...edges].sort((a, b) => a - b);
    const prose = element("div", { class: "prose" });
    sorted.slice(0, -1).forEach((start, index) => {
      const page = pages.find((each) => each.start === start);
      if (page) prose.append(element("span", { class: "leaf" }, `Page ${page.number}${page.recognised ? ", read by OCR" : ""}`));
      const isHeading = lines.some((each) => each[0] <= start && start < each[1]);
      const piece = isHeading ? element("strong", {}, text(start, sorted[index + 1])) : text(start, sorted[index + 1]);
      prose.append(start >= marked[0] && start < marked[1] ? element("mark", {}, piece) : piece);
    });
    const widen = (start, end, label, edge) =>
      element("button", { type: "button", class: "more", onclick: () => this._widen(source, found, start, end, edge) }, label);
    this.body.replaceChildren(
      ...(found.start > 0 ? [widen(Math.max(found.start - MORE, 0), found.end, "Show earlier text", "start")] : []),
      prose,
      ...(found.end < found.length ? [widen(found.start, found.end + MORE, "Show later text", "end")] : []),
    );
    this._scroll(this.body.querySelector("mark"));
  }

  async _widen(source, found, start, end, edge) {
    const { scrollTop, scrollHeight } = this.body;
    const asked = this.asked;
    try {
      const wider = await getJson(documentPath(source.collection, source.document_id, { start, end }));
      if (asked !== this.asked) return;
      this._show(source, wider);
      this.body.scrollTop = edge === "start" ? scrollTop + this.body.scrollHeight - scrollHeight : scrollTop;
      this.body.focus({ preventScroll: true });
    } catch (error) {
      this.note.textContent = error.message;
      this.note.hidden = false;
    }
  }

  _scroll(mark) {
    if (mark === null) {
      this.body.scrollTop = 0;
      return;
    }
    const offset = mark.getBoundingClientRect().top - this.body.getBoundingClientRect().top;
    this.body.scrollTop += offset - this.body.clientHeight / 3;
  }
}

// Sections begin with the line of their heading.
function headingLines(found, points) {
  return found.sections
    .filter((each) => each.heading_path.length > 0 && each.start >= found.start)
    .map((each) => {
      const end = points.indexOf("\n", each.start - found.start);
      return [each.start, end === -1 ? found.end : found.start + end];
    });
}
