// Committed mode and the database server, as the daemon's reader finds them: what waits for whom, which settings weaken
// promises, what the functions in the server have dropped.

import { byId, count, element, nothing, show, span, table } from './dom.js';
import { json, Locked } from './door.js';
import { parked, unknown } from './parked.js';

/** Why nothing is known of the tables; empty if it is not so. `outbox` is what /varz says. */
function silence(outbox) {
  if (outbox === null) return 'Committed mode is off: rowcalld was started without --outbox, so it does not ask the database server.';
  return {
    starting: 'The reader of the outbox is starting.',
    standing_by: 'Another daemon reads this outbox; its page tells.',
    waiting: `The outbox is not read: ${outbox.why}`,
    reading: '',
  }[outbox.state];
}

/** Asks, and shows it; gives what the functions in the server say, if that is known. */
export async function committed(outbox) {
  let why = silence(outbox);
  if (why === '') {
    try {
      const state = await json('/outboxz');
      consumers(state.status, outbox.consumers);
      server(state.server);
      await parked();
      return state.functions;
    } catch (error) {
      if (error instanceof Locked) throw error;
      why = error.message;
    }
  }
  show(byId('consumers'), nothing(why));
  show(byId('server'), nothing(why));
  byId('server-note').textContent = '';
  unknown(why);
  return null;
}

/** What waits, and for how long: the outbox itself, whose row has no name, and each consumer. */
function consumers(status, windows) {
  const paused = new Set(windows.filter(consumer => consumer.paused).map(consumer => consumer.name));
  const there = new Set(windows.map(consumer => consumer.name));
  const columns = ['Who', 'Waiting', 'Oldest', 'With workers', 'Settled', 'Parked', 'Dropped'];
  const line = one => {
    const name = one.consumer === '' ? '(outbox)' : one.consumer;
    const of = one.consumer === '' ? '–' : null;
    return [paused.has(one.consumer) ? `${name} (paused)` : name, count(one.pending), one.oldest_ms === null ? '–' : span(one.oldest_ms),
      of ?? count(one.unacked), of ?? count(one.settled), count(one.parked), of ?? count(one.dropped)];
  };
  const shown = status.filter(one => one.consumer === '' || there.has(one.consumer));
  const made = table('Durable consumers', columns.map((name, at) => ({ name, number: at > 0 })), shown.map(line));
  show(byId('consumers'), windows.length > 0 ? made : element('div', {}, made, nothing('There are no consumers. ',
    element('code', {}, "rowcall consumer add mail 'shop.orders.>'"), ' makes one.')));
}

function server({ version, settings }) {
  const weak = settings.filter(setting => setting.weakens !== null).length;
  byId('server-note').textContent = `${version}. ${weak === 0 ? 'Its settings keep what it has committed through a crash.'
    : 'Some of its settings weaken what Rowcall promises.'}`;
  const lines = settings.flatMap(({ name, value, weakens }) => [
    element('dt', {}, element('code', {}, `${name} = ${value || 'unknown'}`)),
    element('dd', { class: weakens === null ? 'quiet' : 'wrong' }, weakens ?? 'weakens nothing')]);
  show(byId('server'), element('dl', { class: 'settings' }, ...lines));
}
