// One event in full, in a dialog: what is known of it, the row before and after, its payload.

import { byId, element } from './dom.js';
import { difference, pretty, read, VERBS } from './change.js';

/** Shows it. `facts` are names and values; `payload` is text, or base64 of what is none; null is shown as such. */
export function detail(title, facts, payload, isText = true) {
  let body;
  try {
    body = taken(facts, payload, isText);
  } catch {
    // What cannot be taken apart can still be read.
    body = taken(facts, payload, isText, true);
  }
  byId('event-title').textContent = title;
  byId('event-body').replaceChildren(...body);
  byId('event').showModal();
}

/** What the dialog holds; with the payload as it came if it is to be `plain`. */
function taken(facts, payload, isText, plain = false) {
  const { json, change } = payload !== null && isText && !plain ? read(payload) : { json: null, change: null };
  const all = change ? [['Row', `${VERBS[change.op]} in ${json.source.db}.${json.source.table}`], ...facts] : facts;
  const body = [element('dl', { class: 'facts' }, ...all.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]))];
  if (change) body.push(element('h3', {}, 'Before and after'), difference(change));
  const isJson = json !== null;
  const words = isJson ? pretty(payload) : payload ?? 'NULL';
  body.push(element('h3', {}, isJson ? 'Payload, JSON' : isText ? 'Payload' : 'Payload, base64'),
    element('pre', { class: 'payload', tabIndex: 0, role: 'region', 'aria-label': 'Payload' }, words));
  return body;
}
