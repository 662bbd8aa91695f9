// What the page has heard since it began to listen: how many events of each subject, and how long they took.

import { byId, count, element, nothing, show, span, table } from './dom.js';
import { Chart } from './charts.js';

/** Subjects that are counted by name, so that subjects made from keys do not fill the memory; and those that are listed. */
const SUBJECTS_MAX = 1000;
const LISTED = 20;
/** Where replies go: a subject for each request, counted as one. */
const INBOX = '_INBOX.';
/** The end of what a watched table's event says: when its statement ran. */
const TS_MS = /"ts_ms":\s*(\d{13})\}$/;

export class Subjects {
  #counts = new Map();
  #beyond = 0;
  #all = 0;
  #latencies = [];
  #since = new Date();

  constructor() {
    this.latency = new Chart(byId('latency'), 'Latency', ['half within', '99 % within'], span,
      'From the statement that wrote an event until this page has it: COMMIT, daemon and network included. For events that say when they were written: committed ones and those of watched tables.');
  }

  /** Notes when each event came, and how long it took. `offset` is what this machine's clock is behind by. */
  add(events, offset) {
    const came = Date.now();
    for (const event of events) {
      event.came = came;
      const written = writtenAt(event);
      // Two clocks may differ by a little, and one number has no fractions.
      event.latency = written === null ? null : Math.max(0, came + offset - written);
      if (event.latency !== null) this.#latencies.push(event.latency);
      const name = event.subject.startsWith(INBOX) ? `${INBOX}> (replies)` : event.subject;
      if (this.#counts.has(name) || this.#counts.size < SUBJECTS_MAX) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
      else this.#beyond++;
    }
    this.#all += events.length;
  }

  /** Other subjects are listened to. */
  restart() {
    this.#counts.clear();
    this.#beyond = 0;
    this.#all = 0;
    this.#since = new Date();
  }

  /** A second is over. */
  tick() {
    const sorted = this.#latencies.splice(0).sort((a, b) => a - b);
    const at = share => (sorted.length === 0 ? null : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]);
    this.latency.push([at(0.5), at(0.99)]);
    byId('heard-note').textContent = `${count(this.#all)} events heard by this page since ${this.#since.toLocaleTimeString('en-GB')}.`;
    const most = [...this.#counts].sort((a, b) => b[1] - a[1]).slice(0, LISTED);
    const rows = most.map(([name, n]) => [element('span', { class: 'mono' }, name), count(n)]);
    const others = this.#all - most.reduce((sum, [, n]) => sum + n, 0);
    if (others > 0) rows.push(['others', count(others)]);
    show(byId('heard'), rows.length === 0 ? nothing('None yet.')
      : table('Subjects heard', [{ name: 'Subject' }, { name: 'Events', number: true }], rows));
  }
}

/** When the event's row was written, by the database server's clock; null if the event does not say. */
function writtenAt(event) {
  const committed = event.headers['Rowcall-Time'];
  if (committed !== undefined) return Date.parse(committed) || null;
  const found = event.payload?.slice(-40).match(TS_MS);
  return found ? Number(found[1]) : null;
}
