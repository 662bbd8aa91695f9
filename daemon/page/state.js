// What the daemon says of itself: numbers at a glance, listeners, consumers, drops. Asked for every second or two, while
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
  /** How far this machine's clock is behind the daemon's, by the quickest answer so far. */
  #clock = { within: Infinity, offset: 0 };

  constructor() {
    this.rates = new Chart(byId('rates'), 'Messages', ['published', 'delivered'], perSecond,
      'To the daemon from SQL and clients; from it to listeners, each copy.');
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
    byId('about').textContent = `rowcalld ${varz.version} · ${varz.server_name} · up ${varz.uptime}`;
    this.#tiles(varz);
    consumers(varz.outbox);
    drops(varz);
    return varz;
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
    const per = name => (varz[name] - before[name]) / seconds;
    return { published: per('in_msgs'), delivered: per('out_msgs') };
  }

  #tiles(varz) {
    const tiles = [['Published', count(varz.in_msgs)], ['Delivered', count(varz.out_msgs)], ['Connections', count(varz.connections + varz.http.connections)],
      ['Subscriptions', count(varz.subscriptions)], ['Committed mode', outboxWord(varz.outbox)], ['Memory', bytes(varz.mem)]];
    // The same elements each second: only what has changed is read aloud or drawn anew.
    tiles.forEach(([name, value], at) => {
      const tile = byId('tiles').children[at] ?? byId('tiles').appendChild(element('div', {}, element('dt', {}, name), element('dd')));
      if (tile.lastChild.textContent !== value) tile.lastChild.textContent = value;
    });
  }
}

/** What the outbox's reader does, in a word or two. */
function outboxWord(outbox) {
  if (outbox === null) return 'off';
  return { starting: 'starting', standing_by: 'standing by', reading: 'reading', waiting: 'not reading' }[outbox.state];
}

function consumers(outbox) {
  const place = byId('consumers');
  if (outbox === null) {
    return show(place, nothing('Committed mode is off: rowcalld was started without --outbox. ',
      'With it, each event of a durable consumer waits for it until a worker has acknowledged it.'));
  }
  if (outbox.state === 'waiting') return show(place, element('p', { class: 'wrong' }, `The outbox is not read: ${outbox.why}`));
  if (outbox.consumers.length === 0) return show(place, nothing('There are none. ', element('code', {}, "rowcall consumer add mail 'shop.orders.>'"), ' makes one.'));
  const columns = [{ name: 'Name' }, { name: 'With workers', number: true }, { name: 'Delivered', number: true }, { name: 'Again', number: true }];
  show(place, table('Durable consumers', columns, outbox.consumers.map(consumer =>
    [consumer.name + (consumer.paused ? ' (paused)' : ''), ...['unacked', 'delivered', 'redelivered'].map(name => count(consumer[name]))])));
}

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
function drops(varz) {
  const rows = [
    ['unheard', varz.unheard_msgs, 'published while nobody listened to the subject'],
    ['no responders', varz.no_responders, 'of those, requests that nobody could answer'],
    ['slow: owed too much', varz.closed.slow_pending, 'listeners cut off who read too slowly'],
    ['slow: no progress', varz.closed.slow_write, 'listeners cut off who took nothing for too long'],
    ['lost with connections', bytes(varz.lost_bytes), 'owed to connections when they ended'],
    ['forbidden', varz.forbidden.publish + varz.forbidden.subscribe, "what a user's lists do not allow"],
    ['forbidden to SQL', varz.forbidden.sql, 'what SQL may not publish or hear'],
  ];
  if (varz.outbox) rows.push(['parked', varz.outbox.parked, 'committed events that can never be published']);
  const mailbox = ['evicted_count', 'evicted_bytes', 'evicted_time'].reduce((sum, name) => sum + varz.mailbox[name], 0);
  rows.push(['replies not collected', mailbox, 'of rowcall_submit, thrown away for time or room']);
  const columns = [{ name: 'Reason' }, { name: 'How many', number: true }, { name: 'What it means' }];
  show(byId('drops'), table('Drops by reason', columns, rows.map(([name, n, meaning]) => [name, typeof n === 'number' ? count(n) : n, meaning])));
}
