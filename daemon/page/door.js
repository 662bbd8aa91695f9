// Asking the daemon, as whoever has logged in. Credentials stay in this tab (sessionStorage) and go nowhere else.

import { byId } from './dom.js';

const KEPT = 'rowcall.authorization';
let shown = sessionStorage.getItem(KEPT);
/** Whether whoever looks has to log in first. Nothing is asked meanwhile: each wrong attempt counts. */
let locked = false;
/** What to do once someone has logged in. */
let entered = () => {};

/** Nothing can be asked before someone logs in. */
export class Locked extends Error {}

/** Asks; the answer may be a refusal, but none for want of credentials. */
export async function ask(path, options = {}) {
  if (locked) throw new Locked();
  const response = await request(path, options);
  if (response.status === 401) {
    lock('');
    throw new Locked();
  }
  return response;
}

/** Asks for JSON. */
export async function json(path) {
  const response = await ask(path);
  if (!response.ok) throw new Error((await response.text()).trim() || `the daemon answers ${response.status}`);
  return response.json();
}

// Without the browser's own credentials, or it would ask for some itself at each 401.
const request = (path, options, authorization = shown) => fetch(path, {
  ...options, credentials: 'omit', cache: 'no-store',
  headers: authorization === null ? {} : { Authorization: authorization },
});

/** Makes the door work; `then` is done whenever someone has come in. */
export function open(then) {
  entered = then;
  byId('login-form').addEventListener('submit', event => {
    event.preventDefault();
    logIn(new FormData(event.target));
  });
  // There is nothing behind it before someone has logged in.
  byId('login').addEventListener('cancel', event => event.preventDefault());
  byId('logout').addEventListener('click', () => {
    forget();
    location.reload();
  });
}

function forget() {
  shown = null;
  sessionStorage.removeItem(KEPT);
}

function lock(why) {
  locked = true;
  forget();
  byId('login-wrong').textContent = why;
  if (!byId('login').open) byId('login').showModal();
}

async function logIn(form) {
  const [name, password, token] = ['name', 'password', 'token'].map(field => form.get(field));
  const authorization = token === '' ? `Basic ${base64(`${name}:${password}`)}` : `Bearer ${token}`;
  const wrong = byId('login-wrong');
  wrong.textContent = '';
  try {
    const response = await request('/whoami', {}, authorization);
    if (response.status === 401) wrong.textContent = 'That is not right. Names, passwords and tokens are in the file that the setting users names.';
    else if (!response.ok) wrong.textContent = (await response.text()).trim();
    else {
      shown = authorization;
      sessionStorage.setItem(KEPT, shown);
      locked = false;
      byId('login-form').reset();
      byId('login').close();
      entered();
    }
  } catch (error) {
    wrong.textContent = `rowcalld does not answer: ${error.message}`;
  }
}

/** Base64 of UTF-8. */
const base64 = text => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
