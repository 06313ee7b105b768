// Elements without markup: every text goes in as text, since documents and answers are not to be trusted.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Offsets count code points as the service does; JavaScript's strings count UTF-16 units.
export const codePoints = (text) => Array.from(text);

export function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}
