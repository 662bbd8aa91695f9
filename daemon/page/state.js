// What the daemon says of itself: numbers at a glance, connections, drops. Asked for every second or two, while
// somebody looks.

import { byId, bytes, count, element, nothing, show, table } from './dom.js';
import { json } from './door.js';
import { Chart, perSecond } from './charts.js';

/** Connections that are listed. */
const LISTED = 50;
/** Subscriptions that are named of each. */
const NAMED = 4;

export class State {
  #before = null;
  /** What committed mode does, as of the latest look. */
  outbox = null;
  #known;
  /** Until the first look. */
  first = new Promise(resolve => { this.#known = resolve; });
  /** What the functions in the server say, if that is known. */
  functions = null;
  /** How far this machine's clock is behind the daemon's, by the quickest answer so far. */
  #clock = { within: Infinity, offset: 0 };

  constructor() {
    this.rates = new Chart(byId('rates'), 'Messages', ['published', 'delivered'], perSecond,
      'Published: what SQL and clients have sent, the answers of workers included, and committed events that were handed on. Delivered: what listeners were sent, each copy.');
  }

  /** Milliseconds to add to this machine's clock. On the daemon's own machine there is nothing to add. */
  get offset() {
    const near = ['localhost', '[::1]'].includes(location.hostname) || location.hostname.startsWith('127.');
    return near ? 0 : this.#clock.offset;
  }

  /** Asks for the numbers, and shows them. */
  async look() {
    const asked = Date.now();
    const varz = await json('/varz');
    this.#compareClocks(asked, Date.now(), Date.parse(varz.now));
    const rate = this.#rates(varz);
    if (rate) this.rates.push([rate.published, rate.delivered]);
    byId('about').textContent = `rowcalld ${varz.rowcall_version} · ${varz.server_name} · up ${varz.uptime}`;
    this.#tiles(varz);
    drops(varz, this.functions);
    this.outbox = varz.outbox;
    this.#known();
  }

  #compareClocks(asked, answered, theirs) {
    const within = answered - asked;
    if (within < this.#clock.within) this.#clock = { within, offset: theirs - (asked + answered) / 2 };
  }

  #rates(varz) {
    const before = this.#before;
    this.#before = varz;
    const seconds = before === null ? 0 : (varz.uptime_ms - before.uptime_ms) / 1000;
    // Another run of the daemon counts from zero.
    if (seconds <= 0 || varz.server_id !== before.server_id) return null;
    return { published: (published(varz) - published(before)) / seconds, delivered: (varz.out_msgs - before.out_msgs) / seconds };
  }

  #tiles(varz) {
    const tiles = [['Published', count(published(varz))], ['Delivered', count(varz.out_msgs)], ['NATS clients', count(varz.connections)],
      ['Subscriptions', count(varz.subscriptions)], ['Committed mode', outboxWord(varz.outbox)], ['Daemon memory', bytes(varz.mem)]];
    // The same elements each second: only what has changed is read aloud or drawn anew.
    tiles.forEach(([name, value], at) => {
      const tile = byId('tiles').children[at] ?? byId('tiles').appendChild(element('div', {}, element('dt', {}, name), element('dd')));
      if (tile.lastChild.textContent !== value) tile.lastChild.textContent = value;
    });
  }
}

/** Messages from clients and SQL, and from the outbox, which is nobody's message. */
const published = varz => varz.in_msgs + (varz.outbox?.handed_on ?? 0);

/** What the outbox's reader does, in a word or two. */
function outboxWord(outbox) {
  if (outbox === null) return 'off';
  return { starting: 'starting', standing_by: 'standing by', reading: 'reading', waiting: 'not reading' }[outbox.state];
}

/** What is counted in bytes. */
const LOST = 'lost with connections';

/** Who is connected. */
export async function listeners() {
  const connz = await json(`/connz?sort=msgs_to&subs=1&limit=${LISTED}`);
  byId('listeners-note').textContent = connz.total > connz.connections.length
    ? `${count(connz.connections.length)} of ${count(connz.total)} connections, those that were sent most first.` : '';
  const columns = [{ name: 'Who' }, { name: 'By' }, { name: 'Listens to' }, { name: 'Sent', number: true }, { name: 'Published', number: true },
    { name: 'Owed', number: true }, { name: 'Up', number: true }];
  const line = one => [one.name || one.authorized_user || `connection ${one.cid}`, one.ip ? `${one.type}, ${one.ip}` : one.type,
    element('span', { class: 'mono' }, subjects(one)), count(one.out_msgs), count(one.in_msgs), bytes(one.pending_bytes), one.uptime];
  show(byId('listeners'), connz.connections.length === 0 ? nothing('Nobody is connected.') : table('Connections', columns, connz.connections.map(line)));
}

function subjects(one) {
  const named = one.subscriptions_list ?? [];
  const more = one.subscriptions - Math.min(named.length, NAMED);
  return named.slice(0, NAMED).join(' ') + (more > 0 ? ` and ${count(more)} more` : '');
}

/** What each counter of what did not reach someone says, and what it means. */
function drops(varz, functions) {
  const ended = why => varz.closed[why] + varz.http.closed[why];
  const rows = [
    ['unheard', varz.unheard_msgs, 'published while nobody listened to the subject'],
    ['no responders', varz.no_responders, 'of those, requests that nobody could answer'],
    ['slow: owed too much', ended('slow_pending'), 'listeners cut off who read too slowly'],
    ['slow: no progress', ended('slow_write'), 'listeners cut off who took nothing for too long'],
    [LOST, varz.lost_bytes, 'owed to connections when they ended'],
    ['forbidden', varz.forbidden.publish + varz.forbidden.subscribe, "what a user's lists do not allow"],
    ['forbidden to SQL', varz.forbidden.sql, 'what SQL may not publish or hear'],
  ];
  if (varz.outbox) rows.push(['parked', varz.outbox.parked, 'committed events that can never be published']);
  const mailbox = ['evicted_count', 'evicted_bytes', 'evicted_time'].reduce((sum, name) => sum + varz.mailbox[name], 0);
  rows.push(['replies not collected', mailbox, 'of rowcall_submit, thrown away for time or room']);
  for (const [reason, n] of Object.entries(functions?.dropped_by_reason ?? {})) {
    rows.push([`SQL: ${reason}`, n, 'events that a function in the server could not send']);
  }
  for (const [reason, n] of Object.entries(functions?.failed_by_reason ?? {})) {
    rows.push([`SQL request: ${reason}`, n, 'requests of SQL without a reply']);
  }
  const columns = [{ name: 'Reason' }, { name: 'How many', number: true }, { name: 'What it means' }];
  const some = rows.filter(([, n]) => n > 0);
  const none = rows.filter(([, n]) => n === 0).map(([name]) => name);
  show(byId('drops'), element('div', {}, some.length === 0 ? null : table('Drops by reason', columns, some.map(([name, n, meaning]) =>
    [name, name === LOST ? bytes(n) : count(n), meaning])), nothing(`None so far: ${none.join(', ')}.`)));
}
