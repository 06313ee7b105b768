// Talks to the service. Every failure becomes a `ServiceError` whose message is meant to be read.

export class ServiceError extends Error {}

// The key lives as long as the tab. Who needs one is told by the event "keyneeded".
const KEY = "domainqa-key";

export function useKey(key) {
  // Other characters cannot stand in a header, and no key has them.
  sessionStorage.setItem(KEY, key.replace(/[^\x21-\x7e]/g, ""));
}

function headers(more) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

const UNREACHABLE = "The service cannot be reached. Check that it is still running, then try again.";

export async function getJson(path) {
  let response;
  try {
    response = await fetch(path, { headers: headers({ Accept: "application/json" }) });
  } catch {
    throw new ServiceError(UNREACHABLE);
  }
  if (!response.ok) throw await failure(response);
  return response.json();
}

export function documentPath(collection, id, span = null) {
  const path = `v1/collections/${encodeURIComponent(collection)}/documents/${encodeURIComponent(id)}`;
  return span === null ? path : `${path}?${new URLSearchParams(span)}`;
}

// Yields the chunks of an answer. An abort ends it with the browser's AbortError.
export async function* answerChunks(request, signal) {
  let response;
  try {
    response = await fetch("v1/chat/completions", {
      method: "POST",
      headers: headers({ "Content-Type": "application/json" }),
      body: JSON.stringify({ ...request, stream: true }),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ServiceError(UNREACHABLE);
  }
  if (!response.ok) throw await failure(response);
  let done = false;
  try {
    for await (const data of eventData(response.body)) {
      if (data === "[DONE]") {
        done = true;
        break;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServiceError(sentence(chunk.error.message));
      yield chunk;
    }
  } catch (error) {
    if (signal.aborted || error instanceof ServiceError) throw error;
    throw new ServiceError("The connection broke before the answer was complete.");
  }
  if (!done) throw new ServiceError("The connection ended before the answer was complete.");
}

// The data of server-sent events; comments, which only keep the connection alive, are passed over.
export async function* eventData(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value;
      const events = buffer.split(/\r?\n\r?\n/);
      buffer = events.pop();
      for (const event of events) {
        const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (lines.length > 0) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function failure(response) {
  if (response.status === 401) {
    document.dispatchEvent(new Event("keyneeded"));
    return new ServiceError(
      sessionStorage.getItem(KEY) ? "This key is not valid, or no longer." : "This service asks for an access key.",
    );
  }
  let message = "";
  try {
    message = (await response.json()).error.message;
  } catch {
    message = `the service answered with status ${response.status}`;
  }
  if (response.status === 429 && !message.startsWith("this key")) message = `The service is busy: ${message}`;
  return new ServiceError(sentence(message));
}

function sentence(message) {
  const text = String(message || "the service gave no reason");
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
