// Making elements, and writing numbers and times for people. Whatever comes from outside becomes text, never markup.

/** The element of this id. */
export const byId = id => document.getElementById(id);

/** A new element: its name, its properties, what is in it (text or elements; nothing for null). */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [property, value] of Object.entries(properties)) {
    if (property === 'class') made.className = value;
    else if (property.includes('-') || property === 'role' || property === 'scope') made.setAttribute(property, value);
    else made[property] = value;
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

/** A table in its box, which can be scrolled sideways where the screen is narrow. */
export function table(caption, columns, rows) {
  const head = columns.map(column => element('th', { scope: 'col', class: column.number ? 'number' : '' }, column.name));
  const line = row => element('tr', {}, ...row.map((cell, at) => element(at === 0 ? 'th' : 'td',
    at === 0 ? { scope: 'row' } : { class: columns[at].number ? 'number' : '' }, cell)));
  return element('div', { class: 'scroll', role: 'region', 'aria-label': caption, tabIndex: 0 },
    element('table', {}, element('caption', { class: 'unseen' }, caption),
      element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows.map(line))));
}

/** Puts a new table where one was, unless it says the same: then focus, selection and scrolling stay. */
export function show(place, content) {
  const old = place.firstElementChild;
  if (old !== null && old.isEqualNode(content)) return;
  const [left, focused] = [old?.scrollLeft ?? 0, old !== null && document.activeElement === old];
  place.replaceChildren(content);
  content.scrollLeft = left;
  if (focused) content.focus();
}

/** A sentence where there is nothing to show. */
export const nothing = (...words) => element('p', { class: 'quiet' }, ...words);

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const digits = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

/** A number of things. */
export const count = n => whole.format(n ?? 0);

/** A measured number, to three digits. */
export const measured = n => (n >= 1000 ? whole : digits).format(n);

/** A number of bytes. */
export function bytes(n) {
  for (const unit of ['B', 'KiB', 'MiB']) {
    if (n < 1024) return `${digits.format(n)} ${unit}`;
    n /= 1024;
  }
  return `${digits.format(n)} GiB`;
}

/** Milliseconds, as short as can be. */
export function span(ms) {
  if (ms < 1) return '< 1 ms';
  if (ms < 1000) return `${digits.format(ms)} ms`;
  if (ms < 120_000) return `${digits.format(ms / 1000)} s`;
  if (ms < 7_200_000) return `${whole.format(ms / 60_000)} min`;
  return ms < 172_800_000 ? `${whole.format(ms / 3_600_000)} h` : `${whole.format(ms / 86_400_000)} days`;
}

/** The time of day, with its milliseconds. */
export function clock(ms) {
  const at = new Date(ms);
  const two = n => String(n).padStart(2, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, '0')}`;
}

/** Says something to whoever hears the page. */
export function announce(words) {
  byId('announcer').textContent = words;
}
