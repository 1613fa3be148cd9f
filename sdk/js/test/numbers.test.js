// A server that numbers what a producer publishes, refuses some of it for good
// and some for now, and whose answers are lost when connections break.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect } from '../parley.js';
import { network, settled } from './fake.js';

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

class Numbering {
  /** @type {Map<string, number[]>} the payloads stored, by topic */
  stored = new Map([['a', []], ['b', []]]);
  refused = new Set();
  /** @type {any[]} answers on their way */
  answers = [];

  /** @param {() => number} random */
  constructor(random) {
    this.random = random;
  }

  /** @param {{id: number, publish: any}} frame */
  take({ id, publish: { topic, n, payload } }) {
    const log = this.stored.get(topic) ?? [];
    const published = { position: { epoch: 'k', seq: n } };
    if (n <= log.length) {
      assert.equal(log[n - 1], payload, `number ${n} on ${topic} was another message: this one is lost`);
      return this.answers.push({ id, published: { ...published, duplicate: true } });
    }
    if (n > log.length + 1) return this.answers.push({ id, error: { code: 'out_of_sequence', retry: 'now', next: log.length + 1 } });
    const d = this.random();
    if (d < 0.05) {
      this.refused.add(payload);
      return this.answers.push({ id, error: { code: 'forbidden', retry: 'never' } });
    }
    if (d < 0.1) return this.answers.push({ id, error: { code: 'overloaded', retry: 'later' } });
    log.push(payload);
    if (d < 0.15) return this.answers.push({ id, error: { code: 'internal', retry: 'later' } });
    return this.answers.push({ id, published });
  }
}

describe('numbers', () => {
  test('are given where the server keeps them, and keys where it does not', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    await settled();
    const { producer } = net.socket.welcome({ producer: { id: 'p', epoch: 1 } });
    assert.match(producer, /^p-/);
    const unanswered = [live.publish('a', 1), live.publish('a', 2, { key: 'mine' }), live.publish('a', 3, { qos: 0 })];
    const sent = net.socket.takeAll('publish').map(({ publish: { n, key, payload } }) => ({ n, key: key?.length > 9 ? '…' : key, payload }));
    assert.deepEqual(sent, [{ n: 1, key: undefined, payload: 1 }, { n: 2, key: 'mine', payload: 2 }, { n: undefined, key: '…', payload: 3 }]);
    net.socket.end(1006);
    await net.clock.advance(1000);
    net.socket.welcome();
    assert.deepEqual(net.socket.takeAll('publish').map((f) => f.publish.n), [1, 2, undefined]);
    live.close();
    await assert.rejects(Promise.all(unanswered), { code: 'closed' });
  });

  for (let seed = 0; seed < 60; seed++) {
    test(`every message is stored once and in order, unless its publisher was told otherwise: seed ${seed}`, async () => {
      const net = network();
      const random = dice(seed);
      const server = new Numbering(dice(seed + 500));
      const live = connect('/ws', net.options);
      /** @type {any} */
      let socket = null;
      const serve = async () => {
        await settled();
        if (net.socket !== socket) {
          socket = net.socket;
          server.answers = [];
          socket.welcome({ producer: { id: 'p', epoch: 1 } });
        }
        for (const frame of socket.takeAll('publish')) server.take(frame);
      };
      const answer = async (/** @type {number} */ share) => {
        while (server.answers.length && random() < share) {
          // A refusal may overtake what is still being stored.
          const at = server.answers.findIndex((a) => a.error);
          socket.say(server.answers.splice(random() < 0.3 && at > 0 ? at : 0, 1)[0]);
        }
        await settled();
      };
      await serve();
      /** @type {Map<string, number[]>} */
      const accepted = new Map([['a', []], ['b', []]]);
      const outcomes = [];
      for (let step = 0; step < 120; step++) {
        const d = random();
        if (d < 0.5) {
          const topic = random() < 0.7 ? 'a' : 'b';
          outcomes.push(live.publish(topic, step).then(
            () => accepted.get(topic)?.push(step),
            (e) => assert.ok(server.refused.has(step), `${step} failed with ${e.code}, which nobody said`),
          ));
        } else if (d < 0.7) await serve();
        else if (d < 0.9) await answer(0.7);
        else if (d < 0.95) await net.clock.advance(800);
        else {
          socket.end(1006);
          while (net.socket === socket) await net.clock.advance(250);
          await serve();
        }
      }
      for (let round = 0; round < 100; round++) {
        await serve();
        await answer(1);
        await net.clock.advance(1000);
      }
      await Promise.all(outcomes);
      for (const [topic, payloads] of accepted) assert.deepEqual(server.stored.get(topic), payloads.sort((a, b) => a - b), topic);
      live.close();
    });
  }
});
