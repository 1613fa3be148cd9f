// A network without a network: virtual time, a fake browser and sockets whose
// other end is the test.

/** Time that moves only when told to. */
export class VirtualClock {
  #now = 1_000_000;
  #lastId = 0;
  /** @type {Map<number, {at: number, run: () => void}>} */
  #timers = new Map();

  now() {
    return this.#now;
  }

  /** @param {() => void} run @param {number} ms */
  setTimeout(run, ms) {
    this.#timers.set(++this.#lastId, { at: this.#now + ms, run });
    return this.#lastId;
  }

  /** @param {number} id */
  clearTimeout(id) {
    this.#timers.delete(id);
  }

  get pending() {
    return this.#timers.size;
  }

  /** Runs what falls due within ms, in order, and what follows from it. @param {number} ms */
  async advance(ms) {
    const end = this.#now + ms;
    await settled();
    for (;;) {
      const due = [...this.#timers].filter(([, t]) => t.at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].run();
      await settled();
    }
    this.#now = end;
  }
}

/** Waits until everything that needs no timer has happened. */
export async function settled() {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** What the SDK takes for the browser. */
export function fakeWindow() {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  return Object.assign(page, { document, navigator: { onLine: true }, location: { href: 'https://app.example/forum' } });
}

/** One connection, seen from the server. */
export class FakeSocket {
  readyState = 0;
  /** @type {any} */ onopen = null;
  /** @type {any} */ onmessage = null;
  /** @type {any} */ onclose = null;
  /** @type {any} */ onerror = null;
  /** @type {any[]} frames of the client, oldest first, not yet taken */
  received = [];
  closed = false;

  /** @param {string} url @param {string[]} protocols */
  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
  }

  /** @param {string} text */
  send(text) {
    const frames = JSON.parse(text);
    this.received.push(...(Array.isArray(frames) ? frames : [frames]));
  }

  close() {
    this.closed = true;
    this.readyState = 3;
  }

  // The server's side:

  accept() {
    this.readyState = 1;
    this.onopen?.({});
  }

  /** @param {any} frame an object or an array of them */
  say(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** @param {number} code @param {string} [reason] */
  end(code, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  /** The next frame of the client that holds this command. @param {string} name @returns {any} */
  take(name) {
    const i = this.received.findIndex((f) => name in f);
    if (i < 0) throw new Error(`no ${name} among ${JSON.stringify(this.received)}`);
    return this.received.splice(i, 1)[0];
  }

  /** @param {string} name @returns {any[]} */
  takeAll(name) {
    const all = this.received.filter((f) => name in f);
    this.received = this.received.filter((f) => !(name in f));
    return all;
  }

  /** Opens and answers `connect`. @param {any} [answer] @returns {any} what the client sent */
  welcome(answer = {}) {
    this.accept();
    const { id, connect } = this.take('connect');
    this.say({ id, connected: { session: 'ticket-1', user: 'u1', ping_seconds: 25, ...answer } });
    return connect;
  }
}

/** A fake network: options for the client, and the sockets it opened. */
export function network() {
  /** @type {FakeSocket[]} */
  const sockets = [];
  const clock = new VirtualClock();
  const surroundings = fakeWindow();
  class Socket extends FakeSocket {
    /** @param {string} url @param {string[]} protocols */
    constructor(url, protocols) {
      super(url, protocols);
      sockets.push(this);
    }
  }
  return {
    sockets,
    clock,
    surroundings,
    options: { clock, surroundings, WebSocket: Socket, random: () => 0.5 },
    /** The newest socket. */
    get socket() {
      const last = sockets.at(-1);
      if (!last) throw new Error('no socket was opened');
      return last;
    },
  };
}

/** A message frame. @param {string} topic @param {number} seq @param {any} [more] */
export function message(topic, seq, more = {}) {
  return { message: { topic, seq, prev: seq - 1, id: `m${seq}`, type: 't', from: 'u2', time: seq, payload: seq, ...more } };
}
