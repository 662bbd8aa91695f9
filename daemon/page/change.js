// What a payload says: a row's change in Debezium's form, other JSON, or text. Numbers stay as they are written: a BIGINT or
// a DECIMAL has more digits than JavaScript keeps. No page, no elements but for the difference of two rows.

import { element } from './dom.js';

/** Longer payloads are not taken apart for the list. */
const LONG = 64 * 1024;
/** Columns that a line of the list shows, and characters of each. */
const COLUMNS = 12;
const CHARACTERS = 40;

/** The end of the JSON string that begins here. */
function endOfString(text, at) {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '"') return i + 1;
  }
  return text.length;
}

/** The end of the JSON value that begins here. */
function endOfValue(text, at) {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    const c = text[i];
    if (c === '"') i = endOfString(text, i) - 1;
    else if (c === '{' || c === '[') depth++;
    else if (c === '}' || c === ']') {
      if (depth === 0) return i;
      depth--;
    } else if (c === ',' && depth === 0) return i;
  }
  return text.length;
}

/** Where something stands again. */
function endOfBlanks(text, at) {
  while (/\s/.test(text[at] ?? '')) at++;
  return at;
}

/** The members of a JSON object, in their order, each value as it is written. */
export function members(text) {
  const found = [];
  let at = text.indexOf('{') + 1;
  for (;;) {
    at = text.indexOf('"', at);
    if (at < 0) return found;
    const key = endOfString(text, at);
    const from = text.indexOf(':', key) + 1;
    const to = endOfValue(text, from);
    found.push([JSON.parse(text.slice(at, key)), text.slice(from, to).trim()]);
    // Behind the object there may be something else.
    if (text[to] !== ',') return found;
    at = to;
  }
}

/** Deeper or longer than this, JSON is shown as it came: each level indents all within it. */
const DEPTH = 100;
const LENGTH = 1024 * 1024;

/** JSON with a line for each value, or the text as it is where that is too much. The text is known to be JSON. */
export function pretty(text) {
  let [out, depth] = ['', 0];
  const line = () => '\n' + '  '.repeat(depth);
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '"') {
      const end = endOfString(text, i);
      out += text.slice(i, end);
      i = end - 1;
    } else if (c === '{' || c === '[') {
      const close = endOfBlanks(text, i + 1);
      if (text[close] === '}' || text[close] === ']') {
        out += c + text[close];
        i = close;
      } else {
        depth++;
        out += c + line();
      }
    } else if (c === '}' || c === ']') {
      depth--;
      out += line() + c;
    } else if (c === ',') out += c + line();
    else if (c === ':') out += ': ';
    else if (!/\s/.test(c)) out += c;
    if (depth > DEPTH || out.length > LENGTH) return text;
  }
  return out;
}

/** What a payload says: `{ json, change }`, either of which may be null. */
export function read(payload) {
  let json;
  try {
    json = JSON.parse(payload);
  } catch {
    return { json: null, change: null };
  }
  const isRow = row => row === null || (typeof row === 'object' && !Array.isArray(row));
  const isChange = json !== null && ['c', 'u', 'd'].includes(json.op) && typeof json.source?.table === 'string' && typeof json.source.db === 'string'
    && isRow(json.before ?? null) && isRow(json.after ?? null);
  if (!isChange) return { json, change: null };
  const parts = new Map(members(payload));
  const row = name => (json[name] ? members(parts.get(name)) : null);
  return { json, change: { op: json.op, before: row('before'), after: row('after') } };
}

const shortened = text => (text.length > CHARACTERS ? `${text.slice(0, CHARACTERS)}…` : text);

/** One line for the list, as text and elements. */
export function summary(payload) {
  if (payload.length > LONG) return [shortened(payload)];
  let change = null;
  try {
    ({ change } = read(payload));
  } catch {
    // What cannot be taken apart is shown as it came.
  }
  if (change === null) return [payload.slice(0, 300)];
  const column = (name, ...value) => element('span', { class: 'column' }, element('b', {}, name), ' ', ...value);
  const all = row => row.map(([name, value]) => column(name, shortened(value)));
  const changed = ([name, old, now]) => (old === now ? column(name, shortened(now))
    : column(name, element('del', {}, shortened(old)), ' → ', element('ins', {}, shortened(now))));
  const differs = change.op === 'u' && change.before && change.after ? differing(change) : null;
  const parts = differs ? differs.map(changed) : all(change.after ?? change.before ?? []);
  const more = parts.length - COLUMNS;
  const same = differs?.every(([, old, now]) => old === now) ?? false;
  return [...parts.slice(0, COLUMNS), more > 0 ? `and ${more} more` : null, same ? 'nothing changed' : null];
}

/** What happened to a row, in a word. */
export const VERBS = { c: 'inserted', u: 'updated', d: 'deleted' };

/** The first column, which usually says which row it is, and those that are not what they were. */
function differing({ before, after }) {
  const old = new Map(before);
  const pairs = after.map(([name, now]) => [name, old.get(name) ?? '', now]);
  return pairs.filter(([, was, now], at) => at === 0 || was !== now);
}

/** Both rows beside each other, what differs marked. */
export function difference({ before, after }) {
  const [old, now] = [new Map(before ?? []), new Map(after ?? [])];
  const names = [...new Set([...now.keys(), ...old.keys()])];
  const cell = (row, name, changed, tag) => element('td', {}, row.has(name)
    ? (changed ? element(tag, {}, row.get(name)) : row.get(name)) : element('span', { class: 'quiet' }, '–'));
  const line = name => {
    const changed = old.get(name) !== now.get(name);
    return element('tr', { class: changed ? 'changed' : '' }, element('th', { scope: 'row' }, name),
      cell(old, name, changed, 'del'), cell(now, name, changed, 'ins'));
  };
  const head = ['Column', 'Before', 'After'].map(name => element('th', { scope: 'col' }, name));
  return element('div', { class: 'scroll', role: 'region', 'aria-label': 'Before and after', tabIndex: 0 },
    element('table', { class: 'difference' }, element('caption', { class: 'unseen' }, 'The row before and after'),
      element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...names.map(line))));
}
