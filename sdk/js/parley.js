// Parley for browsers and Node: one module, no dependency.
//
//   import { connect } from './parley.js';
//   const live = connect('/ws');
//   live.subscribe('public/lobby', (message) => console.log(message.payload));
//   await live.publish('public/lobby', { text: 'hello' }, { type: 'chat.line' });
//
// The connection comes back by itself. Subscriptions continue after the last
// message that was handled, and what was published meanwhile is sent in order.

/**
 * @typedef {import('./types.d.ts').Options} Options
 * @typedef {import('./types.d.ts').Clock} Clock
 * @typedef {import('./types.d.ts').Events} Events
 * @typedef {import('./types.d.ts').State} State
 * @typedef {import('./types.d.ts').Position} Position
 * @typedef {import('./types.d.ts').Published} Published
 * @typedef {import('./types.d.ts').PublishOptions} PublishOptions
 * @typedef {import('./types.d.ts').CallOptions} CallOptions
 * @typedef {import('./types.d.ts').Member} Member
 * @typedef {import('./types.d.ts').Surroundings} Surroundings
 */
/** @template [T=any] @typedef {import('./types.d.ts').Message<T>} Message */
/** @template [T=any] @typedef {import('./types.d.ts').Page<T>} Page */
/** @template [T=any] @typedef {import('./types.d.ts').SubscribeOptions<T>} SubscribeOptions */
/** @template [T=any] @typedef {import('./types.d.ts').ProcessOptions<T>} ProcessOptions */
/** @typedef {(error: ParleyError | null, body?: any) => void} Answer */

const SUBPROTOCOL = 'parley.v1.json';
const OPEN = 1; // WebSocket.OPEN
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
const CONNECT_TIMEOUT = 15_000; // from the first byte to `connected`
const REQUEST_TIMEOUT = 10_000;
const PROBE_TIMEOUT = 5_000;
const PING_GRACE = 10_000; // the server's ping may be so late
const STABLE = 10_000; // a connection that lasted so long starts the backoff anew
const SUBSCRIBE_AGAIN = 5_000; // after a refusal that may pass, within
const ACK_DELAY = 20;
const WINDOW = 256; // commands under way at once
const CALL_WINDOW = 16; // calls among them: servers work on few of one client at a time
const BATCH = 16 << 10; // characters that go into one frame together
const PAGE = 200; // messages a history request asks for
const HELD = 1000; // live messages that wait for a repair
const TOPICS = 10_000; // topics whose position is remembered
const RECOVER = 200; // of those that came through wildcards, how many are asked for after a reconnect
const LONGEST_TIMER = 2 ** 31 - 1;
const MESSAGE_TOO_BIG = 1009; // RFC 6455, section 7.4.1
const STAY_AWAY = 4500; // close codes from here to 4999: do not come back
const TOKEN_EXPIRED = 4100;
const READS = 1000; // topics of which it is remembered how far was read
const FAILED = Symbol('another member of the group is to try');
const LEAST_RETRY = 500; // before a message that was refused for now is sent again

/** Why something did not happen. `code` is for programs, `message` for people. */
export class ParleyError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{number?: number, retry?: string, retryAfter?: number, next?: number}} [more]
   */
  constructor(code, message, { number = 0, retry = 'never', retryAfter = 0, next = 0 } = {}) {
    super(message);
    this.name = 'ParleyError';
    this.code = code;
    /** The HTTP status that says the same; 0 when no server said it. */
    this.number = number;
    /** 'now', 'later' or 'never'. */
    this.retry = retry;
    /** Milliseconds to wait before a retry. */
    this.retryAfter = retryAfter;
    /** Of out_of_sequence: the number that the server wants. */
    this.next = next;
  }

  /** @param {any} e */
  static fromWire(e) {
    const { code = 'unknown', message = '', number, retry, retry_after_ms: retryAfter, next } = e ?? {};
    return new ParleyError(code, message || code, { number, retry, retryAfter, next });
  }
}

/** @type {Clock} */
const realClock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (handle) => clearTimeout(handle),
};

/** One WebSocket from its opening to its end. */
class Link {
  /** @type {Map<number, {answer: Answer, timer: unknown}>} */
  #pending = new Map();
  /** @type {unknown} */
  #watchdog = null;
  #silence = CONNECT_TIMEOUT;
  #heard;
  #down = false;
  retryAfter = 0; // milliseconds the server asked for before the next connection
  connectedAt = 0;
  leaving = '';

  /**
   * @param {import('./types.d.ts').Socket} socket
   * @param {Clock} clock
   * @param {() => number} nextId
   * @param {{opened: (link: Link) => void, frame: (link: Link, frame: any) => void,
   *   refused: (link: Link, error: ParleyError) => void, down: (link: Link, code: number, reason: string) => void}} owner
   */
  constructor(socket, clock, nextId, owner) {
    this.socket = socket;
    this.clock = clock;
    this.nextId = nextId;
    this.owner = owner;
    this.#heard = clock.now();
    this.expect(CONNECT_TIMEOUT);
    socket.onopen = () => owner.opened(this);
    socket.onmessage = ({ data }) => this.#read(data);
    socket.onclose = ({ code, reason, refusal }) => {
      // Outside browsers a refused handshake can tell why.
      if (refusal) owner.refused(this, ParleyError.fromWire(refusal));
      else this.down(code, reason);
    };
    socket.onerror = () => {}; // a close event follows and says more
  }

  /** Take the link for dead after so much silence. @param {number} ms 0: never */
  expect(ms) {
    this.#silence = ms;
    this.clock.clearTimeout(this.#watchdog);
    if (ms > 0) this.#watchdog = this.clock.setTimeout(() => this.#watch(), ms);
  }

  #watch() {
    const left = this.#heard + this.#silence - this.clock.now();
    if (left <= 0) return this.down(1006, 'the server fell silent');
    this.#watchdog = this.clock.setTimeout(() => this.#watch(), left);
  }

  /** Ask for a sign of life now: the network or the machine was away. */
  probe() {
    this.ask('ping', {}, PROBE_TIMEOUT, (error) => {
      if (error?.code === 'timeout') this.down(1006, 'the server did not answer a ping');
    });
  }

  /** @param {object} frame */
  send(frame) {
    this.sendText(JSON.stringify(frame));
  }

  /** @param {string} text */
  sendText(text) {
    if (!this.#down && this.socket.readyState === OPEN) this.socket.send(text);
  }

  /**
   * Calls answer exactly once, before any later frame is looked at.
   * @param {string} name @param {object} body @param {number} timeout @param {Answer} answer
   */
  ask(name, body, timeout, answer) {
    const id = this.nextId();
    const timer = this.clock.setTimeout(() => this.#settle(id, timedOut(name), undefined), timeout);
    this.#pending.set(id, { answer, timer });
    this.send({ id, [name]: body });
  }

  /** @param {number} id @param {ParleyError | null} error @param {any} body */
  #settle(id, error, body) {
    const pending = this.#pending.get(id);
    if (!pending) return false;
    this.#pending.delete(id);
    this.clock.clearTimeout(pending.timer);
    pending.answer(error, body);
    return true;
  }

  /** @param {any} data */
  #read(data) {
    this.#heard = this.clock.now();
    let frames;
    try {
      frames = JSON.parse(data);
    } catch {
      return this.down(1006, 'the server sent something that is not JSON');
    }
    for (const frame of Array.isArray(frames) ? frames : [frames]) {
      if (this.#down) return;
      if (frame.ping && !frame.id) this.send({ pong: {} });
      else if (frame.leaving) this.#leave(frame.leaving);
      else if (!frame.id || !this.#answered(frame)) this.owner.frame(this, frame);
    }
  }

  /** @param {any} frame */
  #answered(frame) {
    const { id, error, ...rest } = frame;
    return this.#settle(id, error ? ParleyError.fromWire(error) : null, Object.values(rest)[0]);
  }

  /** @param {any} leaving */
  #leave({ reason, retry_after_ms: wait }) {
    this.leaving = reason ?? '';
    this.retryAfter = wait ?? 0;
  }

  /** Ends the link, once. @param {number} code @param {string} reason */
  down(code, reason) {
    if (this.#down) return;
    this.#down = true;
    this.clock.clearTimeout(this.#watchdog);
    const { socket } = this;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(1000, '');
    } catch {
      // A socket that never opened may refuse; it is gone all the same.
    }
    const lost = new ParleyError('disconnected', 'the connection was lost', { retry: 'later' });
    for (const id of [...this.#pending.keys()]) this.#settle(id, lost, undefined);
    this.owner.down(this, code, reason || this.leaving);
  }
}

/**
 * A command without an answer yet. A message that is numbered has a series, and n once it was sent.
 * @typedef {{id: number, text: string, size: number, resend: boolean, timer: unknown, answer: Answer,
 *   publish?: any, series?: Series, n?: number}} Entry
 */

/**
 * Numbers what this client publishes on one topic, so that the server stores
 * each message once and in order, however often it is sent: a message keeps its
 * number until it is answered, and the server takes a number only when it has
 * the one before. It lives as long as the client, because a number that another
 * message had before would be taken for a repeat.
 *
 * When a message is refused, those behind it come back as out of sequence: they
 * are not stored. The series then holds until all that is under way was
 * answered, and goes on with new numbers from the one that the server wants.
 */
export class Series {
  last = 0; // the number given most recently
  flying = 0; // under way
  held = false; // nothing more is sent for now
  paused = false; // held until unpause
  /** @type {Entry[]} */
  kept = [];

  /** Gives an entry its number as it is sent. One beyond the last was taken back meanwhile. @param {Entry} entry */
  number(entry) {
    if (!entry.n || entry.n > this.last) entry.n = ++this.last;
    this.flying++;
    entry.text = JSON.stringify({ id: entry.id, publish: { ...entry.publish, n: entry.n } });
  }

  /** What an answer means: is the entry sent again, and when? @param {Entry} entry @param {ParleyError | null} error */
  judge(entry, error) {
    this.flying--;
    if (!error) return { again: false, wait: 0 };
    if (error.code === 'out_of_sequence' && error.next > 0) {
      this.last = error.next - 1;
      this.held = true;
      return { again: true, wait: 0 };
    }
    if (error.retry === 'never') {
      if (entry.n === this.last) this.last--;
      this.held ||= this.flying > 0; // those behind it come back
      return { again: false, wait: 0 };
    }
    // It may even be stored: only the same number makes it safe to send it again.
    this.held = this.paused = true;
    return { again: true, wait: Math.max(error.retryAfter, LEAST_RETRY) };
  }

  /** What was held, in the order it was published in, once it may go on. */
  resume() {
    return !this.held || this.paused || this.flying > 0 ? [] : this.#release();
  }

  /** Forgets what belonged to the connection. */
  cut() {
    this.flying = 0;
    this.paused = false;
    return this.#release();
  }

  #release() {
    const kept = this.kept.sort((a, b) => a.id - b.id);
    this.kept = [];
    this.held = false;
    return kept;
  }
}

/** Commands in the order they were made, of which only so many are under way. */
class Lane {
  /** @type {Map<number, Entry>} */
  waiting = new Map();
  /** @type {Map<number, Entry>} */
  sent = new Map();

  /** @param {number} window */
  constructor(window) {
    this.window = window;
  }

  /** The next entries to send, small ones together. @param {(entry: Entry) => Series | undefined} seriesOf */
  batch(seriesOf) {
    const texts = [];
    let size = 0;
    for (const entry of this.waiting.values()) {
      if (this.sent.size >= this.window || (size > 0 && size + entry.text.length > BATCH)) break;
      this.waiting.delete(entry.id);
      const series = seriesOf(entry);
      if (series?.held) {
        series.kept.push(entry);
        continue;
      }
      series?.number(entry);
      this.sent.set(entry.id, entry);
      texts.push(entry.text);
      size += entry.text.length;
    }
    return texts;
  }

  /** @param {number} id @returns {Entry | undefined} */
  take(id) {
    const entry = this.sent.get(id) ?? this.waiting.get(id);
    this.sent.delete(id);
    this.waiting.delete(id);
    return entry;
  }

  /** @param {Entry[]} entries */
  front(entries) {
    if (entries.length) this.waiting = new Map([...entries.map((e) => /** @type {[number, Entry]} */ ([e.id, e])), ...this.waiting]);
  }

  /** What was under way waits again, first, with what else is to. @param {Entry[]} more */
  lost(more) {
    const sent = [...this.sent.values()];
    this.sent = new Map();
    this.front([...sent, ...more].sort((a, b) => a.id - b.id));
    return sent;
  }
}

/** Everything that waits for an answer, over all connections. Calls are served beside the rest, so they have a lane of their own. */
class Outbox {
  #commands = new Lane(WINDOW);
  #calls = new Lane(CALL_WINDOW);
  #lanes = [this.#commands, this.#calls];
  #bytes = 0;
  /** @type {Map<string, Series>} by topic */
  #series = new Map();
  numbered = false; // the server keeps numbers

  /** @param {number} count @param {number} bytes */
  constructor(count, bytes) {
    this.count = count;
    this.bytes = bytes;
  }

  /** @param {Entry} entry @param {boolean} isCall */
  add(entry, isCall) {
    let count = 0;
    for (const lane of this.#lanes) count += lane.waiting.size + lane.sent.size;
    for (const series of this.#series.values()) count += series.kept.length;
    if (count >= this.count || this.#bytes + entry.size > this.bytes) {
      const message = 'too much is waiting to be sent: try again once the connection is back';
      throw new ParleyError('outbox_full', message, { retry: 'later' });
    }
    this.#bytes += entry.size;
    (isCall ? this.#calls : this.#commands).waiting.set(entry.id, entry);
  }

  /** @param {Link} link */
  pump(link) {
    for (const lane of this.#lanes) {
      for (let texts = lane.batch(this.#seriesOf); texts.length; texts = lane.batch(this.#seriesOf)) {
        link.sendText(texts.length === 1 ? texts[0] : `[${texts.join(',')}]`);
      }
    }
  }

  /** What numbers an entry; nothing does at QoS 0, or with a server that keeps no numbers. @param {Entry} entry */
  #seriesOf = (entry) => {
    if (entry.series || !entry.publish || !this.numbered || entry.publish.qos === 0) return entry.series;
    const { topic } = entry.publish;
    entry.series = this.#series.get(topic) ?? new Series();
    this.#series.set(topic, entry.series);
    return entry.series;
  };

  /**
   * Takes the server's answer. Reports whether id was one of ours, and calls
   * pause when its topic has to wait: call restart after that time.
   * @param {number} id @param {ParleyError | null} error @param {any} body
   * @param {(series: Series, wait: number) => void} pause
   */
  answered(id, error, body, pause) {
    const entry = this.#commands.sent.get(id);
    const series = entry?.series;
    if (!entry || !series) return this.settle(id, error, body);
    const { again, wait } = series.judge(entry, error);
    this.#commands.sent.delete(id);
    if (again) series.kept.push(entry);
    this.#commands.front(series.resume());
    if (again && wait > 0) pause(series, wait);
    if (!again) this.#finish(entry, error, body);
    return true;
  }

  /** @param {Series} series */
  restart(series) {
    series.paused = false;
    this.#commands.front(series.resume());
  }

  /** Ends an entry whatever the server says. Reports whether id was one of ours. @param {number} id @param {ParleyError | null} error @param {any} [body] */
  settle(id, error, body) {
    const flying = this.#commands.sent.get(id)?.series;
    const entry = this.#commands.take(id) ?? this.#calls.take(id) ?? this.#unkeep(id);
    if (!entry) return false;
    if (flying) {
      flying.flying--;
      this.#commands.front(flying.resume());
    }
    this.#finish(entry, error, body);
    return true;
  }

  /** @param {number} id */
  #unkeep(id) {
    for (const series of this.#series.values()) {
      const at = series.kept.findIndex((entry) => entry.id === id);
      if (at >= 0) return series.kept.splice(at, 1)[0];
    }
    return undefined;
  }

  /** @param {Entry} entry @param {ParleyError | null} error @param {any} [body] */
  #finish(entry, error, body) {
    this.#bytes -= entry.size;
    entry.answer(error, body);
  }

  /** What was under way is sent again first, unless doing it twice could harm. @param {number} code of the close */
  lost(code) {
    const kept = [...this.#series.values()].flatMap((series) => series.cut());
    const sent = [...this.#commands.lost(kept), ...this.#calls.lost([])];
    // Sending what the server found too big again would end every connection.
    const largest = sent.reduce((a, b) => (b.text.length > a.text.length ? b : a), sent[0]);
    if (code === MESSAGE_TOO_BIG && largest) {
      this.settle(largest.id, new ParleyError('too_large', 'the server accepts no message of this size', { number: 413 }));
    }
    const unknown = 'the connection was lost before the answer came: it may or may not have been done';
    for (const entry of sent) {
      if (!entry.resend) this.settle(entry.id, new ParleyError('disconnected', unknown, { retry: 'later' }));
    }
  }

  /** @param {ParleyError} error */
  fail(error) {
    for (const lane of this.#lanes) {
      for (const id of [...lane.sent.keys(), ...lane.waiting.keys()]) this.settle(id, error);
    }
    for (const series of this.#series.values()) for (const { id } of [...series.kept]) this.settle(id, error);
  }
}

/** Where one topic stands: which message comes next, and which were seen. */
class Log {
  epoch = '';
  /** @type {number | undefined} the newest message known to exist; unknown before the first */
  seq = undefined;
  seen = 0; // the newest message that was handed out
  /** @type {Message[]} */
  held = []; // live messages that wait for a repair
  repairing = false;
  overflowed = false;
  /** @type {Set<number>} */
  own = new Set(); // published here with echo:false, so they never arrive
  /** @type {Set<number>} */
  open = new Set(); // handed out, handlers still at work
  acked = 0;
  gapAt = ''; // the last gap that was told
  time = 0; // of the newest message

  /** @param {string} topic */
  constructor(topic) {
    this.topic = topic;
  }

  /** @param {Position} position */
  moveTo({ epoch, seq }) {
    if (epoch !== this.epoch) this.seen = this.acked = 0;
    this.epoch = epoch;
    this.seq = Number(seq ?? 0);
  }

  /** A gap lies before this message. @param {Message} m */
  misses(m) {
    return this.seq !== undefined && m.prev > this.seq && !(this.own.has(m.prev) && m.prev === this.seq + 1);
  }

  /** A message of ours that will not be echoed. @param {number} seq */
  mine(seq) {
    if (seq > (this.seq ?? 0)) this.own.add(seq);
  }

  /** @param {Message} m */
  took(m) {
    this.seen = m.seq;
    this.time = m.time;
    this.seq = Math.max(this.seq ?? 0, m.seq);
    for (const seq of this.own) if (seq < m.seq) this.own.delete(seq);
  }

  /** Everything up to here was handled. */
  handled() {
    const [first] = this.open;
    return first === undefined ? this.seen : first - 1;
  }
}

/** One filter on the wire, shared by all that subscribed to it. */
class Channel {
  /** @type {Set<Subscription<any>>} */
  handles = new Set();
  live = false; // answered on the present connection
  qos = 0;
  presence = false;
  /** @type {{epoch?: string, seq: number} | undefined} */
  since = undefined; // where to begin when the topic's own position is not known
  /** @type {{epoch?: string, seq: number} | undefined} */
  asked = undefined;
  askedId = 0; // of the last subscribe command
  again = false; // refused for now: a timer asks again

  receipts = false;
  resumed = false; // the server goes on behind what was acknowledged

  /** @param {string} filter */
  constructor(filter) {
    this.filter = filter;
    const [, group = '', inner = filter] = /^\$share\/([^/]+)\/(.+)$/.exec(filter) ?? [];
    this.group = group;
    this.inner = inner;
    this.wildcard = /(^|\/)[+#](\/|$)/.test(inner);
  }

  /** A message of this topic belongs here. @param {string} topic @param {string} [share] the group it came through */
  covers(topic, share = '') {
    return this.group === share && (this.inner === topic || (this.wildcard && matches(this.inner, topic)));
  }

  /** @param {Log | undefined} log */
  wire(log) {
    this.asked = this.wildcard || log?.seq === undefined ? this.since : { epoch: log.epoch, seq: log.seq };
    const { filter: topic, qos, asked: since } = this;
    return { topic, qos, since, presence: this.presence || undefined, receipts: this.receipts || undefined };
  }
}

/**
 * A subscription: stop it with unsubscribe(), await `ready`, or read it with `for await`.
 * @template [T=any]
 */
class Subscription {
  /** @type {Message<T>[]} */
  #queue = [];
  /** @type {((result: any) => void) | null} */
  #reader = null;
  /** @type {Error | null} */
  #failure = null;
  #ended = false;
  #iterated;
  /** @type {Message[] | null} live messages that wait for older ones */
  held = null;
  after = 0; // the newest message that was read from history for this one alone

  /**
   * @param {string} topic
   * @param {((message: Message<T>) => unknown) | undefined} handler
   * @param {SubscribeOptions<T>} options
   * @param {(subscription: Subscription<T>) => void} leave
   */
  constructor(topic, handler, options, leave) {
    this.topic = topic;
    this.handler = handler;
    this.options = options;
    this.leave = leave;
    this.#iterated = !handler && typeof options.presence !== 'function'; // else nobody would empty the queue
    /** @type {(position: Position | undefined) => void} */
    this.begun = () => {};
    /** @type {(error: Error) => void} */
    this.refused = () => {};
    /** Settles with the topic's position once the server has answered. @type {Promise<Position | undefined>} */
    this.ready = new Promise((resolve, reject) => {
      this.begun = resolve;
      this.refused = reject;
    });
    this.ready.catch(() => {}); // also told by the error event
  }

  unsubscribe() {
    if (!this.#ended) this.leave(this);
    this.end(null);
  }

  get ended() {
    return this.#ended;
  }

  /** @param {Error | null} error */
  end(error) {
    this.#ended = true;
    this.#failure ??= error;
    this.refused(error ?? new ParleyError('unsubscribed', 'unsubscribed before the server answered'));
    this.#reader?.(undefined);
  }

  /** @param {Message<T>} message @returns {unknown} what the handler returned */
  deliver(message) {
    if (this.#ended || (message.seq > 0 && message.seq <= this.after)) return undefined;
    if (this.held) return void this.held.push(message);
    if (this.#iterated) this.#enqueue(message);
    return this.handler?.(message);
  }

  /** @param {Message<T>} message */
  #enqueue(message) {
    const limit = this.options.buffer ?? 1000;
    if (this.#queue.length >= limit) {
      this.#failure = new ParleyError('slow_consumer', `more than ${limit} messages wait to be read`);
      return this.unsubscribe();
    }
    this.#queue.push(message);
    this.#reader?.(undefined);
  }

  /** @returns {AsyncGenerator<Message<T>, void, void>} */
  async *[Symbol.asyncIterator]() {
    this.#iterated = true;
    try {
      for (;;) {
        const next = this.#queue.shift();
        if (next) yield next;
        else if (this.#failure) throw this.#failure;
        else if (this.#ended) return;
        else await new Promise((resolve) => (this.#reader = resolve));
      }
    } finally {
      this.unsubscribe();
    }
  }
}

/** A live connection that comes back. Begins to connect when it is made. */
export class Parley {
  #url;
  #options;
  #clock;
  #random;
  #surroundings;
  #outbox;
  #lastId = 0;
  /** @type {Map<string, Set<(event: any) => void>>} */
  #listeners = new Map();
  /** @type {Map<string, Channel>} */
  #channels = new Map();
  /** @type {Map<string, Log>} by topic, the longest known first */
  #logs = new Map();
  /** @type {Set<Log>} */
  #unacked = new Set();
  /** @type {State} */
  #state = { state: 'connecting' };
  /** @type {Link | null} */
  #link = null;
  #open = false; // the link has answered connect
  #turn = 0; // makes what an earlier attempt still has under way harmless
  #attempt = 0;
  #notBefore = 0; // the server asked us to stay away until then
  #session = '';
  /** @type {Map<string, number>} what the session wants and nothing here does yet, with its QoS */
  #kept = new Map();
  #listed = false; // connect named all subscriptions
  /** @type {Map<string, number>} how far was read, by topic */
  #reads = new Map();
  #producer = `p-${newKey()}`; // who numbers what is published here
  #token = '';
  /** @type {unknown} */
  #retryTimer = null;
  /** @type {unknown} */
  #refreshTimer = null;
  /** @type {unknown} */
  #ackTimer = null;
  #wake = () => this.#awake();
  #became = () => this.#surroundings.document?.visibilityState !== 'hidden' && this.#awake();

  /** @param {string} url a path of this site, or an address @param {Options} [options] */
  constructor(url, options = {}) {
    this.#options = options;
    this.#clock = options.clock ?? realClock;
    this.#random = options.random ?? Math.random;
    this.#surroundings = options.surroundings ?? /** @type {Surroundings} */ (globalThis);
    this.#url = resolve(url, this.#surroundings.location?.href);
    this.#outbox = new Outbox(options.outbox ?? 5000, options.outboxBytes ?? 8 << 20);
    this.#token = typeof options.token === 'string' ? options.token : '';
    this.user = ''; // who the server says we are, once connected
    this.#watchSurroundings(true);
    this.#dial();
  }

  /** The present state; the event 'state' tells when it changes. */
  get state() {
    return this.#state;
  }

  /**
   * Calls listener on every event of that name. Returns a function that ends it.
   * @template {keyof Events} K
   * @param {K} name @param {(event: Events[K]) => void} listener @returns {() => void}
   */
  on(name, listener) {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(listener));
    return () => void all.delete(listener);
  }

  /** @template {keyof Events} K @param {K} name @param {Events[K]} event */
  #emit(name, event) {
    for (const listener of this.#listeners.get(name) ?? []) this.#run(listener, event, name === 'error');
  }

  /** A handler that throws must not stop the others. @param {(event: any) => unknown} f @param {any} event @param {boolean} [quiet] */
  #run(f, event, quiet = false) {
    /** @param {any} error */
    const failed = (error) => void (quiet ? console.error(error) : this.#trouble(error));
    try {
      const result = f(event);
      return result instanceof Promise ? result.catch(failed) : undefined;
    } catch (error) {
      return failed(error);
    }
  }

  /** Nobody may be listening, and then the console is the place. @param {any} error */
  #trouble(error) {
    if (this.#listeners.get('error')?.size) this.#emit('error', error);
    else console.error(error);
  }

  /**
   * Receive what is published on a topic, or on all topics that a filter with
   * `+` (one level) and `#` (the rest) stands for. Takes effect at once when
   * connected and after every reconnect.
   * @template [T=any]
   * @param {string} topic
   * @param {(message: Message<T>) => unknown} [handler]
   * @param {SubscribeOptions<T>} [options]
   */
  subscribe(topic, handler, options = {}) {
    if (options.since && /[+#]|^\$share\//.test(topic)) throw new TypeError(`${topic}: a position belongs to one topic, leave since out`);
    return this.#join(new Subscription(topic, handler, options, (s) => this.#leave(s)));
  }

  /**
   * Subscribe for work that may fail: a message is acknowledged when the
   * handler has finished, one after the other. After an error the same message
   * is handled again, at growing intervals up to half a minute, and those behind
   * it wait; in a group ($share/group/filter) it goes to another member instead.
   *
   * With a store, each message takes effect once, also over several lives of a
   * page: the position is stored behind the work, or by the handler together
   * with it, and the subscription begins behind the stored one.
   * @template [T=any]
   * @param {string} topic
   * @param {(message: Message<T>) => unknown} handler
   * @param {ProcessOptions<T>} [options]
   */
  process(topic, handler, { store, ...options } = {}) {
    if (store && /[+#]|^\$share\//.test(topic)) throw new TypeError(`${topic}: a position belongs to one topic, leave store out`);
    /** @type {Promise<unknown>} */
    let turn = Promise.resolve();
    /** @type {Subscription<T>} */
    const subscription = new Subscription(
      topic,
      (m) => (turn = turn.then(() => this.#work(subscription, m, handler, store))),
      { qos: store ? 2 : 1, ...options },
      (s) => this.#leave(s),
    );
    if (!store) return this.#join(subscription);
    Promise.resolve(store.load(topic)).then(
      (at) => {
        if (at) subscription.options = { ...subscription.options, since: at };
        if (!subscription.ended) this.#join(subscription);
      },
      (error) => subscription.end(error),
    );
    return subscription;
  }

  /**
   * Does one piece of work until it has succeeded.
   * @param {Subscription<any>} subscription @param {Message} m @param {(m: Message) => unknown} handler
   * @param {import('./types.d.ts').PositionStore} [store]
   */
  async #work(subscription, m, handler, store) {
    for (let attempt = 0; !subscription.ended; attempt++) {
      try {
        await handler(m);
        await store?.save(m.topic, { epoch: m.epoch ?? '', seq: m.seq });
        return undefined;
      } catch (error) {
        this.#trouble(error);
        if (m.share) return FAILED;
        const bound = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(attempt, 16));
        await new Promise((done) => this.#clock.setTimeout(() => done(undefined), Math.max(LEAST_RETRY, this.#random() * bound)));
      }
    }
    return new Promise(() => {}); // it was not done, so it is not acknowledged
  }

  /** @template T @param {Subscription<T>} subscription */
  #join(subscription) {
    const { topic, options } = subscription;
    let channel = this.#channels.get(topic);
    const shared = channel !== undefined || this.#logs.has(topic);
    if (!channel) this.#channels.set(topic, (channel = new Channel(topic)));
    const { presence, receipts } = options;
    const news =
      !channel.handles.size || (options.qos ?? 0) > channel.qos || (presence && !channel.presence) || (receipts && !channel.receipts);
    this.#kept.delete(topic);
    channel.handles.add(subscription);
    channel.qos = Math.max(channel.qos, options.qos ?? 0);
    channel.presence ||= Boolean(presence);
    channel.receipts ||= Boolean(receipts);
    if (!shared) channel.since = options.since;
    else if (options.since && !channel.wildcard) subscription.held = [];
    if (news && this.#open) this.#ask(channel);
    else if (channel.live) subscription.begun(this.position(topic));
    if (subscription.held && this.#open) this.#backfill(subscription);
    return subscription;
  }

  /**
   * Publish. The promise settles with the server's answer; while there is no
   * connection the message waits in the outbox. Sent again after a break and
   * after a refusal that may pass, but stored once and in order for as long as
   * this client lives: messages are numbered. Give a key to what has to be
   * stored once over several lives of a page.
   * @param {string} topic @param {any} payload JSON, or a Uint8Array @param {PublishOptions} [options]
   * @returns {Promise<Published | undefined>} undefined for a volatile message
   */
  publish(topic, payload, options = {}) {
    const { type, qos = 1, headers, retain, echo, expiresIn, timeout = 0, volatile = false } = options;
    const content = payload instanceof Uint8Array ? { data: toBase64(payload) } : { payload };
    const body = { topic, type, qos, headers, retain, echo, expires_in_ms: expiresIn, ...content };
    if (volatile) {
      if (this.#open) this.#link?.send({ publish: { ...body, qos: undefined } });
      return Promise.resolve(undefined);
    }
    const keyed = { ...body, key: options.key ?? newKey() }; // for a server that keeps no numbers
    const numbered = options.key ? keyed : body;
    return this.#post('publish', keyed, timeout, true, (answer) => {
      if (echo === false && answer.position) this.#logs.get(topic)?.mine(answer.position.seq ?? 0);
      return answer;
    }, numbered);
  }

  /**
   * Ask the application behind the server and get its answer.
   * @param {string} type @param {any} [payload] @param {CallOptions} [options] @returns {Promise<any>}
   */
  call(type, payload, { timeout = REQUEST_TIMEOUT, idempotent = false } = {}) {
    const body = { type, payload, timeout_ms: timeout };
    return this.#post('call', body, timeout, idempotent, (answer) => answer?.payload);
  }

  /** Who is on a topic now. @param {string} topic @returns {Promise<Member[]>} */
  presence(topic) {
    return this.#post('presence', { topic }, REQUEST_TIMEOUT, true, (answer) => answer?.members ?? []);
  }

  /**
   * Older messages, oldest first: those before a position, after one, or the newest.
   * @param {string} topic
   * @param {{before?: {epoch?: string, seq: number}, after?: {epoch?: string, seq: number}, limit?: number}} [query]
   * @returns {Promise<Page>}
   */
  history(topic, { before, after, limit = 50 } = {}) {
    return this.#post('history', { topic, before, after, limit }, REQUEST_TIMEOUT, true, toPage);
  }

  /** Tell the others how far was read; without a connection, with the next one. @param {string} topic @param {number} seq */
  read(topic, seq) {
    if (seq <= (this.#reads.get(topic) ?? 0)) return;
    const [oldest] = this.#reads.keys();
    if (this.#reads.size >= READS && oldest !== undefined) this.#reads.delete(oldest); // it has long arrived
    this.#reads.set(topic, seq);
    if (this.#open) this.#link?.send({ read: { topic, seq } });
  }

  /** How far people have got in a topic. @param {string} topic @returns {Promise<import('./types.d.ts').Receipt[]>} */
  receipts(topic) {
    return this.#post('receipts', { topic }, REQUEST_TIMEOUT, true, (answer) => (answer?.receipts ?? []).map(toReceipt));
  }

  /** After the last message that was handed out: a `since` for later. @param {string} topic @returns {Position | undefined} */
  position(topic) {
    const log = this.#logs.get(topic);
    return log?.seq === undefined ? undefined : { epoch: log.epoch, seq: log.seq };
  }

  /** Connect now: instead of waiting for the next attempt, or after having been closed. */
  connect() {
    if (this.#link || this.#state.state === 'connecting') return;
    if (this.#state.state === 'closed') this.#watchSurroundings(true);
    this.#attempt = 0;
    this.#dial();
  }

  /** End the connection for good. What still waits in the outbox fails. @param {string} [reason] */
  close(reason = 'closed here') {
    this.#end(1000, reason);
  }

  // --- the connection ---

  async #dial() {
    const turn = ++this.#turn;
    this.#clock.clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    if (this.#state.state === 'closed' || this.#attempt === 0) this.#become({ state: 'connecting' });
    let socket;
    try {
      const token = await this.#credentials();
      const Socket = await this.#socketClass();
      if (turn !== this.#turn) return;
      socket = new Socket(this.#url, [SUBPROTOCOL], { headers: this.#options.headers, compress: this.#options.compress });
      this.#link = new Link(socket, this.#clock, () => ++this.#lastId, {
        opened: (link) => this.#hello(link, token),
        frame: (_, frame) => this.#frame(frame),
        refused: (link, error) => this.#turnedAway(link, error),
        down: (link, code, why) => this.#down(link, code, why),
      });
    } catch (error) {
      if (turn !== this.#turn) return;
      const { code, message, retry, retryAfter } = toError(error);
      if (retry === 'never' && error instanceof ParleyError) this.#end(0, code);
      else this.#again(message, retryAfter);
    }
  }

  /** A token or ticket for this attempt; '' when the handshake itself says who we are. */
  async #credentials() {
    const { token, ticket } = this.#options;
    if (typeof ticket === 'function') return ticket();
    if (ticket && !this.#session) return ticket;
    if (typeof token === 'function') this.#token ||= await token();
    return this.#token;
  }

  /** @returns {Promise<import('./types.d.ts').SocketClass>} */
  async #socketClass() {
    const { WebSocket: given, headers, compress } = this.#options;
    const special = headers || (compress && this.#surroundings.process?.versions?.node);
    const own = given ?? (special ? undefined : this.#surroundings.WebSocket);
    if (own) return own;
    const module = await import(/* @vite-ignore */ new URL('./node-websocket.js', import.meta.url).href);
    return module.NodeWebSocket;
  }

  /** @param {Link} link @param {string} token */
  #hello(link, token) {
    const { device, expiry, clean } = this.#options;
    this.#listed = !device || this.#session !== ''; // else the session may want more than is known here
    const channels = [...this.#channels.values()].map((channel) => channel.wire(this.#logs.get(channel.filter)));
    const kept = [...this.#kept].map(([topic, qos]) => ({ topic, qos }));
    const connect = {
      token: token || undefined,
      session: this.#session || undefined,
      device,
      producer: this.#producer,
      expiry_seconds: expiry && Math.round(expiry / 1000),
      clean: (clean && !this.#session) || undefined,
      subscriptions: this.#listed ? [...channels, ...kept] : [],
    };
    link.ask('connect', connect, CONNECT_TIMEOUT, (error, answer) => {
      if (!error) return this.#connected(link, answer);
      if (error.code === 'disconnected') return undefined; // down() is on its way here already
      return this.#turnedAway(link, error);
    });
  }

  /** The server refused the handshake, or answered `connect` with an error. @param {Link} link @param {ParleyError} error */
  #turnedAway(link, error) {
    link.retryAfter ||= error.retryAfter;
    const expired = error.code === 'token_expired';
    if (error.retry === 'never' && !expired) this.#trouble(error);
    link.down(expired ? TOKEN_EXPIRED : error.retry === 'never' ? STAY_AWAY : 4003, error.code);
  }

  /** @param {Link} link @param {any} answer */
  #connected(link, answer) {
    this.#open = true;
    link.connectedAt = this.#clock.now();
    link.expect(answer.ping_seconds ? answer.ping_seconds * 1000 + PING_GRACE : 0);
    this.#session = answer.session ?? '';
    this.#outbox.numbered = Boolean(answer.producer);
    this.user = answer.user ?? '';
    this.#kept.clear();
    for (const item of answer.subscriptions ?? []) {
      const channel = this.#channels.get(item.topic);
      if (channel && this.#listed) this.#subscribed(channel, item);
      else if (channel || item.error) continue; // asked for below, as it is wanted now
      else if (this.#options.device && item.qos > 0) this.#kept.set(item.topic, item.qos);
      else link.send({ unsubscribe: { topic: item.topic } });
    }
    for (const [topic, seq] of this.#reads) link.send({ read: { topic, seq } });
    this.#recoverWildcards();
    for (const channel of [...this.#channels.values()]) {
      if (!channel.live) this.#ask(channel);
      for (const handle of channel.handles) if (handle.held) this.#backfill(handle);
    }
    this.#refreshBefore(answer.expires_in_ms);
    this.#become({ state: 'connected', user: this.user, resumed: Boolean(answer.resumed) });
    this.#outbox.pump(link);
  }

  /** A filter has no position of its own, so each topic seen through it is asked for; rarer ones once they stir. */
  #recoverWildcards() {
    const resumed = [...this.#channels.values()].filter((channel) => channel.resumed);
    const logs = [...this.#logs.values()].filter(
      (log) => !this.#channels.has(log.topic) && log.seq !== undefined && !resumed.some((channel) => channel.covers(log.topic)),
    );
    for (const log of logs.sort((a, b) => b.time - a.time).slice(0, RECOVER)) this.#repair(log);
  }

  /** @param {Link} link @param {number} code @param {string} reason */
  #down(link, code, reason) {
    if (link !== this.#link) return;
    const lasted = this.#open ? this.#clock.now() - link.connectedAt : 0;
    this.#forgetLink();
    this.#outbox.lost(code);
    if (lasted > STABLE) this.#attempt = 0;
    if (code === TOKEN_EXPIRED) {
      this.#token = '';
      const { token, ticket } = this.#options;
      if (typeof token === 'string' && typeof ticket !== 'function') return this.#end(code, reason || 'token_expired');
    }
    if (code >= STAY_AWAY && code <= 4999) return this.#end(code, reason);
    return this.#again(reason || `closed with ${code}`, link.retryAfter);
  }

  #forgetLink() {
    this.#link = null;
    this.#open = false;
    this.#unacked.clear();
    this.#clock.clearTimeout(this.#refreshTimer);
    for (const channel of this.#channels.values()) channel.live = channel.again = channel.resumed = false;
    for (const log of this.#logs.values()) {
      log.acked = 0; // the last acknowledgement may be lost
      log.repairing = log.overflowed = false;
      log.held = [];
    }
  }

  /** Full jitter: anything from nothing to the bound, so that a crowd spreads out. @param {string} reason @param {number} wait */
  #again(reason, wait) {
    this.#attempt++;
    const bound = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(this.#attempt - 1, 16));
    const retryIn = Math.round(wait + this.#random() * bound);
    this.#notBefore = this.#clock.now() + wait;
    this.#retryTimer = this.#clock.setTimeout(() => this.#dial(), retryIn);
    const state = this.#surroundings.navigator?.onLine === false ? 'offline' : 'reconnecting';
    this.#become({ state, attempt: this.#attempt, retryIn, reason });
  }

  /** The network or the tab came back, or the network went. */
  #awake() {
    if (this.#open) return this.#link?.probe();
    if (this.#retryTimer === null || this.#surroundings.navigator?.onLine === false) return;
    const wait = this.#notBefore - this.#clock.now();
    if (wait <= 0) this.#dial();
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    if (this.#state.state === 'closed') return;
    const link = this.#link;
    this.#turn++;
    this.#forgetLink();
    link?.down(code, reason);
    this.#clock.clearTimeout(this.#retryTimer);
    this.#clock.clearTimeout(this.#ackTimer);
    this.#retryTimer = this.#ackTimer = null;
    this.#watchSurroundings(false);
    const error = new ParleyError('closed', `the connection is closed: ${reason}`);
    this.#become({ state: 'closed', reason, code });
    this.#outbox.fail(error);
    if (code === 1000) {
      for (const channel of this.#channels.values()) for (const handle of channel.handles) handle.end(null);
      this.#channels.clear();
    }
  }

  /** @param {State} state */
  #become(state) {
    this.#state = state;
    this.#emit('state', state);
  }

  /** @param {boolean} watch */
  #watchSurroundings(watch) {
    const verb = watch ? 'addEventListener' : 'removeEventListener';
    for (const name of ['online', 'offline', 'pageshow']) this.#surroundings[verb]?.(name, this.#wake);
    this.#surroundings.document?.[verb]('visibilitychange', this.#became);
  }

  /** Fetch a new token in time. @param {number} [expiresIn] milliseconds; 0: never */
  #refreshBefore(expiresIn) {
    const { token } = this.#options;
    this.#clock.clearTimeout(this.#refreshTimer);
    if (!expiresIn || typeof token !== 'function') return;
    const wait = Math.min(expiresIn - Math.min(120_000, expiresIn / 2), LONGEST_TIMER);
    this.#refreshTimer = this.#clock.setTimeout(async () => {
      const link = this.#link;
      try {
        const fresh = await token();
        if (link !== this.#link || !link) return;
        link.ask('refresh', { token: fresh }, REQUEST_TIMEOUT, (error, answer) => {
          if (error?.code === 'disconnected') return;
          if (error) return this.#trouble(error);
          this.#token = fresh;
          this.#refreshBefore(answer?.expires_in_ms);
        });
      } catch (error) {
        this.#trouble(error);
        if (link === this.#link) this.#refreshBefore(expiresIn - wait);
      }
    }, wait);
  }

  // --- what is sent ---

  /**
   * @param {string} name @param {object} body @param {number} timeout milliseconds, 0: none
   * @param {boolean} resend @param {(answer: any) => any} read @param {any} [publish] what is sent where it is numbered
   * @returns {Promise<any>}
   */
  #post(name, body, timeout, resend, read, publish) {
    return new Promise((done, failed) => {
      if (this.#state.state === 'closed') throw new ParleyError('closed', 'the connection is closed');
      const id = ++this.#lastId;
      /** @type {Entry} */
      const entry = { id, text: JSON.stringify({ id, [name]: body }), size: 0, resend, timer: null, answer: () => {}, publish };
      entry.size = entry.text.length;
      entry.answer = (error, answer) => {
        this.#clock.clearTimeout(entry.timer);
        if (error) failed(error);
        else done(read(answer));
        if (this.#open && this.#link) this.#outbox.pump(this.#link);
      };
      this.#outbox.add(entry, name === 'call');
      if (timeout > 0) entry.timer = this.#clock.setTimeout(() => this.#outbox.settle(id, timedOut(name)), timeout);
      if (this.#open && this.#link) this.#outbox.pump(this.#link);
    });
  }

  /** @param {Log} log */
  #ackSoon(log) {
    if (log.handled() <= log.acked || !this.#open) return;
    this.#unacked.add(log);
    this.#ackTimer ??= this.#clock.setTimeout(() => this.#sendAcks(), ACK_DELAY);
  }

  #sendAcks() {
    this.#ackTimer = null;
    const frames = [...this.#unacked].map((log) => {
      log.acked = log.handled();
      return { ack: { topic: log.topic, seq: log.acked } };
    });
    this.#unacked.clear();
    if (frames.length && this.#open) this.#link?.send(frames.length === 1 ? frames[0] : frames);
  }

  // --- subscriptions ---

  /** @param {Channel} channel */
  #ask(channel) {
    const wire = channel.wire(this.#logs.get(channel.filter));
    channel.askedId = this.#lastId + 1;
    channel.again = false;
    this.#link?.ask('subscribe', wire, REQUEST_TIMEOUT, (error, answer) => {
      if (error?.code === 'disconnected' || this.#channels.get(channel.filter) !== channel) return;
      if (error) this.#refused(channel, error);
      else this.#subscribed(channel, answer);
    });
  }

  /** @param {Channel} channel @param {any} answer */
  #subscribed(channel, { position, recovered, resumed = false, error }) {
    if (error) return this.#refused(channel, ParleyError.fromWire(error));
    channel.live = true;
    channel.resumed = resumed;
    const standsSomewhere = !channel.wildcard && !channel.group && (!resumed || channel.asked);
    if (position && standsSomewhere) this.#place(channel, { epoch: position.epoch ?? '', seq: position.seq ?? 0 }, recovered);
    if (channel.qos > 0 && !channel.group) {
      for (const log of this.#logs.values()) if (channel.covers(log.topic)) this.#ackSoon(log);
    }
    for (const handle of channel.handles) handle.begun(this.position(channel.filter));
  }

  /** @param {Channel} channel @param {Position} position of the newest message @param {boolean} recovered */
  #place(channel, position, recovered) {
    const log = this.#log(channel.filter);
    const from = channel.asked?.seq ?? 0;
    if (log.seq === undefined && from > 0) log.seen = from; // the page that subscribes shows these already
    if (channel.asked && recovered) {
      log.epoch = position.epoch;
      if (from > 0) log.seq ??= from;
      return;
    }
    const first = log.epoch === '';
    const { seen } = log;
    log.moveTo(position);
    if (first && channel.asked?.epoch === position.epoch) log.seen = seen;
    if (from > 0) this.#gap(log.topic, position);
  }

  /** @param {Channel} channel @param {ParleyError} error */
  #refused(channel, error) {
    this.#trouble(error);
    if (error.retry === 'never') {
      this.#drop(channel);
      for (const handle of channel.handles) handle.end(error);
      return;
    }
    channel.live = channel.again = true; // as good as answered: asked again by this timer or by the next connection
    const link = this.#link;
    this.#clock.setTimeout(
      () => link === this.#link && this.#open && this.#channels.get(channel.filter) === channel && this.#ask(channel),
      error.retryAfter + SUBSCRIBE_AGAIN * this.#random(),
    );
  }

  /** @param {Subscription<any>} subscription */
  #leave(subscription) {
    const channel = this.#channels.get(subscription.topic);
    if (!channel?.handles.delete(subscription) || channel.handles.size) return;
    this.#drop(channel);
    if (this.#open) this.#link?.send({ unsubscribe: { topic: channel.filter } });
  }

  /** @param {Channel} channel */
  #drop(channel) {
    this.#channels.delete(channel.filter);
    for (const topic of this.#logs.keys()) if (!this.#covering(topic).length) this.#logs.delete(topic);
  }

  /** The channels a topic belongs to. @param {string} topic */
  #covering(topic) {
    return [...this.#channels.values()].filter((channel) => channel.covers(topic));
  }

  /** @param {string} topic */
  #log(topic) {
    let log = this.#logs.get(topic);
    if (log) return log;
    for (const old of this.#logs.keys()) {
      if (this.#logs.size < TOPICS) break;
      if (!this.#channels.has(old)) this.#logs.delete(old);
    }
    this.#logs.set(topic, (log = new Log(topic)));
    return log;
  }

  // --- what arrives ---

  /** @param {any} frame */
  #frame(frame) {
    const { id, error, message, gap, skipped, joined, left, receipt, unsubscribed } = frame;
    if (id) this.#answered(frame);
    else if (message) this.#message(toMessage(message));
    else if (gap) this.#lost(gap);
    else if (skipped) this.#skipped(skipped);
    else if (joined) this.#came('joined', joined);
    else if (left) this.#came('left', left);
    else if (receipt) this.#receipt(toReceipt(receipt));
    else if (error) this.#trouble(ParleyError.fromWire(error));
    else if (unsubscribed) this.#dismissed(unsubscribed.topic);
  }

  /** @param {any} frame */
  #answered({ id, error: refusal, ...rest }) {
    const error = refusal ? ParleyError.fromWire(refusal) : null;
    const link = this.#link;
    const ours = this.#outbox.answered(id, error, Object.values(rest)[0], (series, wait) => {
      this.#clock.setTimeout(() => {
        if (link !== this.#link || !link) return;
        this.#outbox.restart(series);
        this.#outbox.pump(link);
      }, wait);
    });
    if (ours && link) this.#outbox.pump(link);
    if (ours || !error) return;
    // A subscription can fail after it was answered, while it reads history.
    const channel = [...this.#channels.values()].find(({ askedId }) => askedId === id);
    if (channel) this.#refused(channel, error);
    else this.#trouble(error);
  }

  /** @param {Message} m */
  #message(m) {
    if (m.share) return this.#shared(m, m.share);
    if (!m.seq || (m.topic.startsWith('$') && !this.#channels.has(m.topic))) return this.#dispatch(m);
    // The session wants it, and nothing here follows it before the server's answer: unacknowledged, it comes again.
    if (this.#options.device && !this.#covering(m.topic).some((channel) => channel.live)) return undefined;
    const log = this.#log(m.topic);
    if (m.epoch && log.epoch && m.epoch !== log.epoch) this.#lost({ topic: m.topic, position: { epoch: m.epoch, seq: m.prev } });
    log.epoch ||= m.epoch ?? '';
    if (m.seq <= log.seen) {
      log.acked = Math.min(log.acked, m.seq - 1); // a duplicate: its acknowledgement may be lost
      return this.#covering(m.topic).some((channel) => channel.qos > 0) ? this.#ackSoon(log) : undefined;
    }
    if (!log.repairing && !log.misses(m)) return this.#take(log, m);
    if (log.held.length < HELD) log.held.push(m);
    else log.overflowed = true;
    return log.repairing ? undefined : this.#repair(log);
  }

  /** @param {Log} log @param {Message} m */
  #take(log, m) {
    log.took(m);
    m.epoch ||= log.epoch; // its position may be stored
    this.#dispatch(m, log);
  }

  /** @param {Message} m @param {Log} [log] */
  #dispatch(m, log) {
    const channels = this.#covering(m.topic);
    const work = [];
    for (const channel of channels) {
      for (const handle of [...channel.handles]) work.push(this.#run((x) => handle.deliver(x), m));
    }
    this.#emit('message', m);
    if (m.topic.startsWith('$')) this.#emit('direct', m);
    if (log && channels.some((channel) => channel.qos > 0)) this.#ackAfter(log, m, work);
  }

  /** A member of a group sees a part of a topic, so nothing is missed between. @param {Message} m @param {string} share */
  #shared(m, share) {
    const channel = [...this.#channels.values()].find((c) => c.covers(m.topic, share));
    if (!channel) return;
    this.#emit('message', m);
    const link = this.#link;
    const work = [...channel.handles].map((handle) => this.#run((x) => handle.deliver(x), m));
    Promise.all(work).then((results) => {
      const failed = results.includes(FAILED);
      if (link === this.#link) link?.send({ ack: { topic: m.topic, seq: m.seq, share, failed: failed || undefined } });
    });
  }

  /** Acknowledges m when all work on it is done. @param {Log} log @param {Message} m @param {unknown[]} work */
  #ackAfter(log, m, work) {
    const unfinished = work.filter((w) => w instanceof Promise);
    if (!unfinished.length) return this.#ackSoon(log);
    log.open.add(m.seq);
    Promise.all(unfinished).then(() => {
      log.open.delete(m.seq);
      this.#ackSoon(log);
    });
  }

  /** Reads what lies after the log's position, then lets the held messages through. @param {Log} log @param {boolean} [further] */
  #repair(log, further = false) {
    log.repairing = true;
    const query = { topic: log.topic, after: { epoch: log.epoch, seq: log.seq }, limit: PAGE };
    this.#link?.ask('history', query, REQUEST_TIMEOUT, (error, body) => {
      if (error?.code === 'disconnected' || this.#logs.get(log.topic) !== log) return;
      if (error) return this.#release(log);
      const page = toPage(body);
      if (log.epoch && page.position?.epoch && page.position.epoch !== log.epoch) {
        this.#lost({ topic: log.topic, position: page.position });
        return this.#release(log);
      }
      page.messages.forEach((m, i) => {
        if (i === 0 && !further && log.misses(m)) this.#gap(log.topic, page.position);
        if (log.own.has(m.seq)) log.seq = Math.max(log.seq ?? 0, m.seq);
        else if (m.seq > log.seen) this.#take(log, m);
      });
      if (page.more && page.messages.length) return this.#repair(log, true);
      const newest = page.position?.seq ?? 0;
      if (!page.messages.length && newest > (log.seq ?? 0) && !log.own.has(newest)) {
        // Nothing of what was missed is kept.
        this.#lost({ topic: log.topic, position: page.position });
      }
      return this.#release(log);
    });
  }

  /** @param {Log} log */
  #release(log) {
    const { held, overflowed } = log;
    log.held = [];
    log.repairing = log.overflowed = false;
    for (const m of held) {
      if (m.seq <= log.seen) continue;
      if (log.misses(m)) this.#gap(log.topic, undefined);
      this.#take(log, m);
    }
    if (overflowed) this.#repair(log);
  }

  /** Hands a later subscriber the older messages it asked for. @param {Subscription<any>} handle */
  #backfill(handle) {
    const after = { ...handle.options.since, seq: Math.max(handle.options.since?.seq ?? 0, handle.after) };
    this.#link?.ask('history', { topic: handle.topic, after, limit: PAGE }, REQUEST_TIMEOUT, (error, body) => {
      if (error?.code === 'disconnected' || !handle.held) return;
      const page = toPage(body);
      const { held } = handle;
      if (error) handle.options.onGap?.({ topic: handle.topic });
      handle.held = null;
      for (const m of page.messages) {
        this.#run((x) => handle.deliver(x), m);
        handle.after = m.seq;
      }
      if (page.more && page.messages.length) {
        handle.held = held;
        return this.#backfill(handle);
      }
      for (const m of held) this.#run((x) => handle.deliver(x), m);
    });
  }

  /** The server cannot recover what came before position. @param {{topic: string, position?: Position}} gap */
  #lost({ topic, position }) {
    const log = this.#log(topic);
    if (position) log.moveTo(position);
    this.#reads.delete(topic);
    this.#gap(topic, position);
  }

  /** The server left messages up to seq out, because we are behind. @param {{topic: string, seq?: number}} skipped */
  #skipped({ topic, seq = 0 }) {
    const log = this.#log(topic);
    if (log.seq === undefined || log.repairing || Number(seq) <= log.seq) return;
    log.seq = Number(seq);
    this.#gap(topic, { epoch: log.epoch, seq: log.seq });
  }

  /** @param {string} topic @param {Position | undefined} position */
  #gap(topic, position) {
    const log = this.#log(topic);
    const mark = position && `${position.epoch}/${position.seq}`;
    if (mark && log.gapAt === mark) return; // told already
    log.gapAt = mark ?? '';
    const gap = { topic, position };
    for (const channel of this.#covering(topic)) {
      for (const handle of [...channel.handles]) {
        handle.after = 0;
        this.#run((g) => handle.options.onGap?.(g), gap);
      }
    }
    this.#emit('gap', gap);
  }

  /** @param {import('./types.d.ts').Receipt} receipt */
  #receipt(receipt) {
    for (const channel of this.#covering(receipt.topic)) {
      for (const { options } of [...channel.handles]) {
        if (typeof options.receipts === 'function') this.#run(options.receipts, receipt);
      }
    }
    this.#emit('receipt', receipt);
  }

  /** @param {'joined' | 'left'} change @param {{topic: string, user: string}} who */
  #came(change, { topic, user }) {
    const event = { change, topic, user };
    for (const channel of this.#covering(topic)) {
      for (const { options } of [...channel.handles]) {
        if (typeof options.presence === 'function') this.#run(options.presence, event);
      }
    }
    this.#emit(change, event);
  }

  /** The server ended a subscription by itself. @param {string} topic */
  #dismissed(topic) {
    const channel = this.#channels.get(topic);
    const error = new ParleyError('forbidden', `the server ended the subscription to ${topic}`, { number: 403 });
    // Behind a refusal that may pass it only says the same again.
    if (channel && !channel.again) this.#refused(channel, error);
  }
}

/**
 * Connects, and stays connected: new Parley(url, options).
 * @param {string} url a path of this site (`/ws`) or an address (`wss://…`)
 * @param {Options} [options]
 */
export function connect(url, options) {
  return new Parley(url, options);
}

/**
 * Keeps positions in the browser (IndexedDB), for process(): a store that
 * outlives the page.
 * @param {string} [name] of the database @returns {import('./types.d.ts').PositionStore}
 */
export function indexedPositions(name = 'parley') {
  const table = 'positions';
  /** @type {Promise<IDBDatabase> | undefined} */
  let opened;
  const open = () =>
    (opened ??= new Promise((done, failed) => {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(table);
      request.onsuccess = () => done(request.result);
      request.onerror = () => failed(request.error);
    }));
  /** @template T @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest<T>} what @returns {Promise<T>} */
  const run = async (mode, what) => {
    const transaction = (await open()).transaction(table, mode, { durability: 'strict' });
    return new Promise((done, failed) => {
      const request = what(transaction.objectStore(table));
      transaction.oncomplete = () => done(request.result);
      transaction.onerror = transaction.onabort = () => failed(transaction.error);
    });
  };
  return {
    load: (topic) => run('readonly', (store) => store.get(topic)),
    save: async (topic, position) => void (await run('readwrite', (store) => store.put(position, topic))),
  };
}

/** @param {string} filter @param {string} topic */
export function matches(filter, topic) {
  if (topic.startsWith('$') && !filter.startsWith('$')) return false;
  const levels = topic.split('/');
  const wanted = filter.split('/');
  for (const [i, level] of wanted.entries()) {
    if (level === '#') return true;
    if (i >= levels.length || (level !== '+' && level !== levels[i])) return false;
  }
  return wanted.length === levels.length;
}

/** @param {string} url @param {string} [base] */
function resolve(url, base) {
  if (!base && !/^(ws|http)s?:/.test(url)) {
    throw new TypeError(`${url} is no address: outside a page give all of it, as ws://localhost:8080/ws`);
  }
  const resolved = new URL(url, base);
  resolved.protocol = resolved.protocol.replace('http', 'ws');
  resolved.hash = '';
  return resolved.href;
}

/** @param {string} what */
function timedOut(what) {
  return new ParleyError('timeout', `no answer to ${what} in time`, { number: 504, retry: 'later' });
}

/** @param {any} error */
function toError(error) {
  if (error instanceof ParleyError) return error;
  return new ParleyError('failed', String(error?.message ?? error), { retry: 'later' });
}

/** @param {any} wire @returns {Message} */
function toMessage({ data, ...m }) {
  const message = { ...m, seq: m.seq ?? 0, prev: m.prev ?? 0 };
  return data === undefined ? message : { ...message, data: fromBase64(data) };
}

/** @param {any} wire @returns {import('./types.d.ts').Receipt} */
function toReceipt({ delivered = 0, read = 0, delivered_by: deliveredBy, read_by: readBy, ...r }) {
  return { ...r, delivered, read, deliveredBy, readBy };
}

/** @param {any} body @returns {Page} */
function toPage(body) {
  const { topic = '', messages = [], position, more = false } = body ?? {};
  return { topic, messages: messages.map(toMessage), position, more };
}

/** Not randomUUID, which pages without TLS do not have. */
function newKey() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

/** @param {Uint8Array} bytes */
function toBase64(bytes) {
  let text = '';
  for (const b of bytes) text += String.fromCharCode(b);
  return btoa(text);
}

/** @param {string} text */
function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}
