// A server that keeps everything it is told and carries it badly: it loses and
// doubles messages on their way, and connections break at any moment. Nothing
// of that may be seen by who subscribes.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect, matches } from '../parley.js';
import { network } from './fake.js';

/** Numbers from 0 up to 1, the same for the same seed. @param {number} seed */
function dice(seed) {
  let state = (seed + 1) * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Model {
  lose = 0;
  /** @type {Map<string, any[]>} */
  logs = new Map();
  /** @type {Map<string, number>} */
  keys = new Map();
  /** @type {import('./fake.js').FakeSocket | null} */
  socket = null;
  /** @type {Set<string>} */
  filters = new Set();

  /** @param {ReturnType<typeof network>} net @param {() => number} random */
  constructor(net, random) {
    this.net = net;
    this.random = random;
  }

  /** Answers everything the client has said, and opens the connections it wants. */
  serve() {
    for (let busy = true; busy; ) {
      const newest = this.net.sockets.at(-1) ?? null;
      if (newest !== this.socket) {
        this.socket = newest;
        this.filters.clear();
        newest?.accept();
      }
      const frames = this.socket?.received.splice(0) ?? [];
      busy = frames.length > 0;
      for (const frame of frames) this.answer(frame);
    }
  }

  /** @param {any} reply */
  tell(reply) {
    if (this.socket?.readyState === 1) this.socket.say(reply);
  }

  /** @param {string} topic */
  log(topic) {
    const log = this.logs.get(topic) ?? [];
    this.logs.set(topic, log);
    return log;
  }

  /** @param {any} wanted */
  subscribe({ topic }) {
    this.filters.add(topic);
    const position = /[+#]/.test(topic) ? undefined : { epoch: 'k', seq: this.log(topic).length };
    return { topic, recovered: true, position };
  }

  /** @param {any} wanted */
  catchUp({ topic, since }) {
    if (since) for (const message of this.log(topic).slice(since.seq)) this.tell({ message });
  }

  /** @param {any} frame */
  answer({ id, connect: hello, subscribe, history, publish }) {
    if (hello) {
      const subscriptions = hello.subscriptions.map((/** @type {any} */ s) => this.subscribe(s));
      this.tell({ id, connected: { session: 's', user: 'ann', ping_seconds: 0, subscriptions } });
      hello.subscriptions.forEach((/** @type {any} */ s) => this.catchUp(s));
    } else if (subscribe) {
      this.tell({ id, subscribed: this.subscribe(subscribe) });
      this.catchUp(subscribe);
    } else if (history) {
      const all = this.log(history.topic);
      const rest = all.slice(history.after.seq);
      const messages = rest.slice(0, 1 + Math.floor(this.random() * 5));
      this.tell({ id, history: { messages, more: messages.length < rest.length, position: { epoch: 'k', seq: all.length } } });
    } else if (publish) {
      const duplicate = this.keys.has(publish.key);
      const seq = this.keys.get(publish.key) ?? this.append(publish.topic);
      this.keys.set(publish.key, seq);
      this.tell({ id, published: { position: { epoch: 'k', seq }, duplicate } });
    }
  }

  /** Keeps a message and carries it, perhaps. @param {string} topic */
  append(topic) {
    const log = this.log(topic);
    const seq = log.length + 1;
    const message = { topic, seq, prev: seq - 1, epoch: 'k', time: seq, payload: seq };
    log.push(message);
    if ([...this.filters].some((f) => matches(f, topic)) && this.random() >= this.lose) {
      this.tell({ message });
      if (this.random() < 0.1) this.tell({ message });
    }
    return seq;
  }
}

describe('whatever happens, every message arrives once and in order', () => {
  for (let seed = 0; seed < 40; seed++) {
    test(`seed ${seed}`, async () => {
      const net = network();
      const random = dice(seed);
      const model = new Model(net, dice(seed + 1000));
      const live = connect('/ws', net.options);
      /** @type {Map<string, number[]>} */
      const got = new Map([['a', []], ['w/1', []], ['w/2', []]]);
      let gaps = 0;
      live.on('gap', () => gaps++);
      for (const filter of ['a', 'w/+']) live.subscribe(filter, (m) => got.get(m.topic)?.push(m.seq));
      /** @param {number} ms */
      const pass = async (ms) => {
        for (let left = ms; left >= 0; left -= 250) {
          await net.clock.advance(Math.min(left, 250));
          model.serve();
        }
      };
      await pass(250);
      for (const topic of got.keys()) model.append(topic); // what was never heard of cannot be missed
      model.lose = 0.2;
      const published = [];
      for (let step = 0; step < 150; step++) {
        const d = random() * 20;
        if (d < 1) model.socket?.end(1006);
        else if (d < 4) await pass(random() * 2000);
        else if (d < 10) published.push(live.publish('a', step));
        else model.append([...got.keys()][Math.floor(random() * 3)]);
        if (random() < 0.3) model.serve();
      }
      model.lose = 0;
      model.socket?.end(1006);
      await pass(60_000);
      for (const [topic, seqs] of got) assert.deepEqual(seqs, model.log(topic).map((m) => m.seq), topic);
      assert.equal(gaps, 0);
      assert.equal((await Promise.all(published)).length, model.keys.size, 'stored once each');
      live.close();
    });
  }
});
