// The list of events: bounded, drawn a few times a second at most however many come.

import { announce, byId, bytes, clock, count, element, span } from './dom.js';
import { summary } from './change.js';
import { detail } from './detail.js';

/** Events that the list holds. What is older is forgotten by the page; nobody else is concerned. */
const ROWS_MAX = 200;
/** Characters of payload in them, as a payload may have a mebibyte. */
const KEPT_MAX = 16 << 20;
/** Events of them that one drawing adds; of more, the latest, and a line says how many are left out. */
const DRAWN_MAX = 40;
/** How soon to draw again after a drawing: a busy list nobody can read faster. */
const DRAW_MS = 150;
/** How often whoever hears the page is told how many events have come. */
const TELL_MS = 10_000;

export class Events {
  /** What has come and was not drawn yet, the latest last; at most as many as can be drawn. */
  #waiting = [];
  /** How many came before those and are not listed. */
  #left = 0;
  /** Whether a drawing is due. */
  #due = false;
  #drawn = 0;
  #paused = false;
  /** Came while the list stood still. */
  #missed = 0;
  #untold = 0;
  /** What is in the list, by its row. */
  #shown = new Map();
  #kept = 0;

  constructor() {
    byId('pause').addEventListener('click', () => this.pause(!this.#paused));
    byId('clear').addEventListener('click', () => this.clear());
    byId('rows').addEventListener('click', click => {
      const row = click.target.closest('tr');
      // Whoever marks text does not want to open it.
      if (this.#shown.has(row) && getSelection().isCollapsed) open(this.#shown.get(row));
    });
    setInterval(() => this.#tell(), TELL_MS);
  }

  /** Takes what has come. */
  add(events) {
    this.#untold += events.length;
    if (this.#paused) this.#missed += events.length;
    const most = this.#paused || document.hidden ? ROWS_MAX : DRAWN_MAX;
    const all = this.#waiting.length + events.length;
    this.#waiting = [...this.#waiting, ...events.slice(-most)].slice(-most);
    this.#left += all - this.#waiting.length;
    this.#note();
    this.#draw();
  }

  pause(paused) {
    this.#paused = paused;
    this.#missed = 0;
    byId('pause').setAttribute('aria-pressed', String(paused));
    byId('pause').textContent = paused ? 'Resume' : 'Pause';
    announce(paused ? 'The list stands still.' : 'The list goes on.');
    this.#note();
    this.#draw();
  }

  clear() {
    this.#waiting = [];
    this.#left = 0;
    this.#missed = 0;
    this.#shown.clear();
    this.#kept = 0;
    byId('rows').replaceChildren();
    this.#note();
  }

  #note() {
    byId('events-note').textContent = this.#paused
      ? `Paused. ${count(this.#missed)} came since; the latest ${ROWS_MAX} of them are shown when it goes on.` : '';
  }

  // A tab that nobody sees is not drawn, and only the latest are kept for it.
  #draw() {
    if (this.#due || this.#paused || this.#waiting.length === 0) return;
    this.#due = true;
    const wait = Math.max(0, this.#drawn + DRAW_MS - performance.now());
    setTimeout(() => requestAnimationFrame(() => this.#drawNow()), wait);
  }

  #drawNow() {
    this.#due = false;
    this.#drawn = performance.now();
    if (this.#paused) return;
    const events = this.#waiting.splice(0).reverse();
    const left = this.#left;
    this.#left = 0;
    const rows = events.map(event => {
      const row = line(event);
      this.#shown.set(row, event);
      this.#kept += size(event);
      return row;
    });
    if (rows.length > 0) {
      byId('nothing').hidden = true;
      byId('list').hidden = false;
    }
    if (left > 0) rows.push(gap(left));
    byId('rows').prepend(...rows);
    this.#trim();
  }

  #trim() {
    const rows = byId('rows');
    let row = rows.lastElementChild;
    while (row && rows.childElementCount > 1 && (rows.childElementCount > ROWS_MAX || this.#kept > KEPT_MAX)) {
      const before = row.previousElementSibling;
      // The one that has the focus stays until it is left.
      if (!row.contains(document.activeElement)) {
        if (this.#shown.has(row)) this.#kept -= size(this.#shown.get(row));
        this.#shown.delete(row);
        row.remove();
      }
      row = before;
    }
  }

  #tell() {
    if (this.#untold > 0 && !this.#paused) {
      announce(`${count(this.#untold)} events in the last ${TELL_MS / 1000} seconds.`);
    }
    this.#untold = 0;
  }
}

const text = event => event.payload ?? event.payload_base64;
const size = event => text(event).length;

function line(event) {
  const words = event.payload === undefined ? [`${bytes(size(event) * 3 / 4)} that are no text`] : summary(event.payload);
  // Their roles are said, as on a phone they are not laid out as a table.
  const cell = (...content) => element('td', { role: 'cell' }, ...content);
  return element('tr', { role: 'row' }, cell(element('time', {}, clock(event.came))),
    cell(element('button', { type: 'button', class: 'open' }, event.subject)), cell(element('div', { class: 'what' }, ...words)));
}

/** Stands where events came too fast to be listed. */
const gap = n => element('tr', { role: 'row', class: 'gap' }, element('td', { role: 'cell', colSpan: 3 },
  `${count(n)} more came here, too fast to be listed`));

function open(event) {
  const written = event.latency === null ? [] : [['Written', `${span(event.latency)} before`]];
  const reply = event.reply === undefined ? [] : [['Answer to', event.reply]];
  detail(event.subject, [['Heard', clock(event.came)], ...written, ...reply, ...Object.entries(event.headers)],
    text(event), event.payload !== undefined);
}
