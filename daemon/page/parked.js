// Events that were given up: why, and what shall become of them. They are sent again or dropped by the daemon, for whoever
// may ask for it; dropping asks first.

import { announce, byId, bytes, count, element, nothing, show, table } from './dom.js';
import { detail } from './detail.js';
import { ask, json } from './door.js';

/** What was listed last, by the key that its buttons hold. */
let listed = new Map();
/** What the open question is about. */
let doomed = null;

/** The daemon counts no more than these. */
const COUNTED = 1000;

const COLUMNS = [{ name: 'Event' }, { name: 'Subject' }, { name: 'Given up by' }, { name: 'Reason' }, { name: 'Parked' }, { name: 'What now' }];

/** Makes the buttons work. */
export function begin() {
  byId('parked').addEventListener('click', click => {
    const button = click.target.closest('button');
    const event = listed.get(button?.dataset.event);
    if (event === undefined) return;
    if (button.dataset.wish === 'open') open(event);
    if (button.dataset.wish === 'retry') settle('retry', event);
    if (button.dataset.wish === 'drop') {
      doomed = event;
      byId('sure-words').textContent = `Drop event ${event.id}, ${name(event)}? It is deleted for good, and nobody will get it.`;
      byId('sure').showModal();
    }
  });
  byId('sure').addEventListener('close', () => {
    if (byId('sure').returnValue === 'drop' && doomed !== null) settle('drop', doomed);
    byId('sure').returnValue = '';
    doomed = null;
  });
}

const name = event => event.subject ?? 'without a subject';
/** An id may have come again: its time tells which one. */
const one = event => `${event.id}.${event.stamp}`;
const owner = event => event.consumer || '(outbox)';

/** Asks what is parked, and shows it. */
export async function parked() {
  const answer = await json('/parked');
  const key = event => `${one(event)} ${event.consumer}`;
  listed = new Map(answer.events.map(event => [key(event), event]));
  const hidden = answer.withheld > 0 ? ` ${count(answer.withheld)} are of subjects that this user may not hear.` : '';
  const looked = answer.events.length + answer.withheld;
  const all = answer.count >= COUNTED ? `${count(COUNTED)} or more` : count(answer.count);
  const more = answer.count > looked ? ` The latest ${count(looked)} of ${all}.` : '';
  byId('parked-note').textContent = `Could never be published, or no worker took them in their deliveries.${more}${hidden}`;
  const button = (event, wish, words) => {
    const made = element('button', { type: 'button', class: wish, 'aria-label': `${words} event ${event.id} of ${owner(event)}` }, words);
    [made.dataset.event, made.dataset.wish] = [key(event), wish];
    return made;
  };
  const line = event => {
    const subject = button(event, 'open', name(event));
    subject.setAttribute('aria-label', `Show event ${event.id}, ${name(event)}`);
    return [String(event.id), subject, owner(event), event.reason, new Date(event.parked_at).toLocaleString('en-GB'),
      element('span', { class: 'buttons' }, button(event, 'retry', 'Retry'), button(event, 'drop', 'Drop'))];
  };
  // A list that changes takes the focus away from a button; it goes to the same one, or to the section.
  const focused = byId('parked').contains(document.activeElement) ? { ...document.activeElement.dataset } : null;
  show(byId('parked'), listed.size === 0 ? nothing(answer.count === 0 ? 'Nothing is parked.' : 'Nothing that this user may see.')
    : table('Parked events', COLUMNS, answer.events.map(line)));
  if (focused !== null && document.activeElement === document.body) {
    const same = [...byId('parked').querySelectorAll('button')].find(it => it.dataset.event === focused.event && it.dataset.wish === focused.wish);
    (same ?? byId('parked-section')).focus();
  }
}

/** Says that nothing can be told, and why. */
export function unknown(why) {
  byId('parked-note').textContent = '';
  show(byId('parked'), nothing(why));
}

function open(event) {
  const lines = text => (text ?? '').split('\n').filter(line => line !== '');
  const cut = event.payload !== null && event.payload_bytes > new TextEncoder().encode(event.payload).length;
  const facts = [['Id', String(event.id)], ['Given up by', owner(event)], ['Reason', event.reason], ['Written', event.created_at],
    ['Parked', event.parked_at], ...lines(event.history).map(line => ['History', line]), ...lines(event.headers).map(line => ['Header', line])];
  if (cut) facts.push(['Size', `${bytes(event.payload_bytes)}; only the beginning is shown`]);
  detail(name(event), facts, event.payload);
}

/** Has an event sent again or dropped, and says what became of it. */
async function settle(wish, event) {
  const done = { retry: 'will be sent again', drop: 'is dropped' }[wish];
  const said = byId('parked-said');
  try {
    const query = new URLSearchParams({ id: one(event), consumer: event.consumer });
    const response = await ask(`/parked/${wish}?${query}`, { method: 'POST' });
    const words = response.ok ? await response.json() : (await response.text()).trim();
    if (!response.ok) said.textContent = `Event ${event.id}: ${words}`;
    else if (words.events === 0) said.textContent = `Event ${event.id} is not parked any more, or its consumer is not there any more.`;
    else {
      said.textContent = '';
      announce(`Event ${event.id} ${done}.`);
    }
    await parked();
  } catch (error) {
    said.textContent = `Event ${event.id}: ${error.message}`;
  }
}
