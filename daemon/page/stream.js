// The stream of events (Server-Sent Events, read by fetch: EventSource could not say who asks).

import { ask, Locked } from './door.js';

/** After how long a broken stream is asked for again: what the daemon tells browsers. */
const AGAIN_MS = 2000;

export class Stream {
  #stop = new AbortController();

  /** `heard` gets what has come, a few events at a time; `changed` the state: live, refused or broken, and why. */
  constructor(heard, changed) {
    this.heard = heard;
    this.changed = changed;
  }

  /** Listens to these subjects, and to no others any more. */
  listen(subjects) {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#follow(subjects, this.#stop.signal);
  }

  async #follow(subjects, signal) {
    const query = new URLSearchParams(subjects.map(subject => ['subject', subject]));
    query.append('format', 'json');
    while (!signal.aborted) {
      let why = 'the stream has ended';
      try {
        const response = await ask(`/events?${query}`, { signal });
        if (!response.ok) {
          const words = (await response.text()).trim();
          // It would be answered the same again, but for a lack of room or a daemon that leaves.
          if (response.status < 500 && response.status !== 429) return this.changed('refused', words);
          throw new Error(words);
        }
        this.changed('live', '');
        await this.#read(response.body.getReader(), signal);
      } catch (error) {
        if (signal.aborted || error instanceof Locked) return;
        why = error.message;
      }
      if (signal.aborted) return;
      this.changed('broken', why);
      await new Promise(resolve => setTimeout(resolve, AGAIN_MS));
    }
  }

  async #read(reader, signal) {
    const decoder = new TextDecoder();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
      rest = lines.pop();
      const events = lines.filter(line => line.startsWith('data: ')).map(line => JSON.parse(line.slice(6)));
      if (events.length > 0) this.heard(events);
    }
  }
}
