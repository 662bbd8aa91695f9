// The live page begins here: who looks, what is listened to, when to ask again. What is shown stands in the other scripts.

import { announce, byId } from './dom.js';
import { json, Locked, open } from './door.js';
import { Events } from './events.js';
import { listeners, State } from './state.js';
import { begin as openParked } from './parked.js';
import { committed } from './outbox.js';
import { Stream } from './stream.js';
import { Subjects } from './subjects.js';

const events = new Events();
const subjects = new Subjects();
const state = new State();
const stream = new Stream(come => {
  subjects.add(come, state.offset);
  events.add(come);
}, linked);

/** What the stream does, in words. */
const LINK = { waiting: 'connecting', live: 'live', refused: 'refused', broken: 'not connected' };

function linked(now, why) {
  const link = byId('link');
  const before = link.dataset.state;
  link.dataset.state = now;
  link.textContent = LINK[now];
  link.title = why;
  byId('filter-wrong').textContent = now === 'refused' ? `${words()}: ${why}` : '';
  byId('subjects').setAttribute('aria-invalid', String(now === 'refused'));
  if (now !== before) announce(now === 'live' ? `Listening to ${words()}.` : `${LINK[now]}: ${why}`);
}

const words = () => byId('subjects').value.trim();

function listen() {
  const wanted = words().split(/[\s,]+/).filter(subject => subject !== '');
  if (wanted.length === 0) return linked('refused', 'name a subject; > is all of them');
  subjects.restart();
  stream.listen(wanted);
}

byId('filter').addEventListener('submit', event => {
  event.preventDefault();
  events.clear();
  listen();
});

/** Someone has come in, or nobody has to. */
async function begin() {
  const { user, subscribe } = await json('/whoami');
  byId('user').textContent = user === null ? '' : `logged in as ${user}`;
  byId('user').hidden = user === null;
  byId('logout').hidden = user === null;
  if (subscribe.allow !== null) {
    byId('subjects').value = subscribe.allow.join(' ');
    if (subscribe.allow.length === 0) {
      return linked('refused', `the user ${user} may listen to no subject; the file of users says who may`);
    }
  }
  listen();
}

/** Does it again and again, so long after each time, while somebody looks; says why it fails, or nothing. */
async function keep(ms, look, say = down) {
  for (;;) {
    if (!document.hidden) {
      try {
        await look();
        say('');
      } catch (error) {
        if (!(error instanceof Locked)) say(error.message);
      }
    }
    await new Promise(resolve => setTimeout(resolve, ms));
  }
}

/** The daemon does not answer. */
function down(why) {
  byId('down').hidden = why === '';
  byId('down').textContent = why === '' ? '' : `rowcalld does not answer; what stands here is old. (${why})`;
}

/** Begins, however long it takes until the daemon answers. */
async function enter() {
  for (;;) {
    try {
      return await begin();
    } catch (error) {
      if (error instanceof Locked) return;
      linked('broken', error.message);
    }
    await new Promise(resolve => setTimeout(resolve, 2000));
  }
}

open(enter);
enter();
openParked();
keep(1000, () => state.look());
keep(2000, listeners);
// A database server that hangs keeps nothing else from being shown, and what it says is told in its place.
keep(2000, async () => {
  await state.first;
  state.functions = await committed(state.outbox);
}, () => {});
setInterval(() => subjects.tick(), 1000);
