// What outlives a connection, a page, or a handler that fails.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect } from '../parley.js';
import { network, settled } from './fake.js';

const newest = { epoch: 'k', seq: 9 };
const restored = { resumed: true, subscriptions: [{ topic: 'a', qos: 1, recovered: true, resumed: true, position: newest }] };

/** @param {number} seq @param {object} [more] */
function message(seq, more = {}) {
  return { message: { topic: 'a', seq, prev: seq - 1, epoch: 'k', time: seq, payload: seq, ...more } };
}

/** Answers the next subscribe. @param {import('./fake.js').FakeSocket} socket @param {object} [more] */
function subscribed(socket, more = {}) {
  const { id, subscribe } = socket.take('subscribe');
  socket.say({ id, subscribed: { topic: subscribe.topic, qos: subscribe.qos, recovered: true, position: newest, ...more } });
  return subscribe;
}

/** @param {object} [options] */
async function open(options) {
  const net = network();
  const live = connect('/ws', { ...net.options, ...options });
  await settled();
  return { net, live, errors: watch(live) };
}

/** @param {import('../parley.js').Parley} live */
function watch(live) {
  /** @type {any[]} */
  const errors = [];
  live.on('error', (e) => errors.push(e));
  return errors;
}

describe('a device', () => {
  test('leaves alone what its session wants until something here does, and gets what was not acknowledged', async () => {
    const { net, live } = await open({ device: 'laptop', expiry: 3_600_000 });
    const hello = net.socket.welcome(restored);
    assert.deepEqual([hello.device, hello.expiry_seconds, hello.subscriptions], ['laptop', 3600, []]);
    net.socket.say([message(8), message(9)]);
    await net.clock.advance(1000);
    assert.deepEqual(net.socket.received, [], 'neither unsubscribed nor acknowledged');
    /** @type {number[]} */
    const got = [];
    live.subscribe('a', (m) => got.push(m.seq), { qos: 1 });
    net.socket.say(message(10)); // from what the session had: 8 and 9 came before anything wanted them
    assert.equal(subscribed(net.socket, { resumed: true }).since, undefined);
    net.socket.say([message(8), message(9)]);
    await net.clock.advance(1000);
    assert.deepEqual(got, [8, 9]);
    assert.deepEqual(net.socket.takeAll('ack').at(-1), { ack: { topic: 'a', seq: 9 } });
    net.socket.end(1006);
    await net.clock.advance(1000);
    assert.deepEqual(net.socket.welcome(restored).subscriptions, [{ topic: 'a', qos: 1, since: newest }]);
    await net.clock.advance(1000);
    assert.deepEqual(net.socket.take('ack'), { ack: { topic: 'a', seq: 9 } }, 'the last may be lost');
    live.close();
  });

  test('stands nowhere before its first message', async () => {
    const { net, live } = await open({ device: 'laptop' });
    net.socket.welcome(restored);
    live.subscribe('a', () => {}, { qos: 1 });
    subscribed(net.socket, { resumed: true });
    net.socket.end(1006);
    await net.clock.advance(1000);
    assert.equal(net.socket.welcome(restored).subscriptions[0].since, undefined);
    live.close();
  });
});

describe('work', () => {
  test('that fails is done again, and what is behind it waits', async () => {
    const { net, live, errors } = await open();
    net.socket.welcome({ ping_seconds: 0 });
    /** @type {number[]} */
    const did = [];
    let fails = 3;
    live.process('a', async (m) => {
      did.push(m.seq);
      if (m.seq === 10 && fails-- > 0) throw new Error('the database is away');
    });
    assert.equal(subscribed(net.socket).qos, 1);
    net.socket.say([message(10), message(11)]);
    await net.clock.advance(100);
    assert.deepEqual(did, [10]);
    assert.deepEqual(net.socket.takeAll('ack'), []);
    await net.clock.advance(60_000);
    assert.deepEqual(did, [10, 10, 10, 10, 11]);
    assert.equal(errors.length, 3);
    assert.equal(net.socket.takeAll('ack').at(-1).ack.seq, 11);
    live.close();
  });

  test('in a group is acknowledged one by one, and goes to another member when it fails', async () => {
    const { net, live } = await open();
    net.socket.welcome();
    live.process('$share/g/jobs/+', (m) => {
      if (m.seq === 7) throw new Error('not today');
    });
    subscribed(net.socket, { position: undefined });
    for (const seq of [3, 7, 12]) net.socket.say(message(seq, { topic: 'jobs/1', share: 'g', attempt: 1 }));
    await net.clock.advance(1000);
    assert.deepEqual(net.socket.received.map((f) => f.ack), [
      { topic: 'jobs/1', seq: 3, share: 'g' },
      { topic: 'jobs/1', seq: 7, share: 'g', failed: true },
      { topic: 'jobs/1', seq: 12, share: 'g' },
    ]);
    live.close();
  });

  test('takes effect once: it begins behind the stored position and stores its own', async () => {
    const { net, live } = await open();
    net.socket.welcome();
    const kept = new Map([['a', { epoch: 'k', seq: 41 }]]);
    const store = { load: async (/** @type {string} */ t) => kept.get(t), save: async (/** @type {string} */ t, /** @type {any} */ p) => kept.set(t, p) };
    /** @type {number[]} */
    const did = [];
    live.process('a', (m) => did.push(m.seq), { store });
    await settled();
    const wanted = subscribed(net.socket, { position: { epoch: 'k', seq: 43 } });
    assert.deepEqual([wanted.since, wanted.qos], [{ epoch: 'k', seq: 41 }, 2]);
    await net.clock.advance(1000);
    assert.equal(net.socket.take('ack').ack.seq, 41, 'what is stored is handled');
    net.socket.say([message(41), message(42)]);
    await net.clock.advance(1000);
    assert.deepEqual(did, [42]);
    assert.deepEqual(kept.get('a'), { epoch: 'k', seq: 42 });
    assert.throws(() => live.process('a/+', () => {}, { store }), /one topic/);
    live.close();
  });

  test('whose position cannot be loaded does not begin', async () => {
    const { net, live } = await open();
    net.socket.welcome();
    const store = { load: () => Promise.reject(new Error('no disk')), save: () => {} };
    await assert.rejects(live.process('a', () => {}, { store }).ready, /no disk/);
    assert.deepEqual(net.socket.takeAll('subscribe'), []);
    live.close();
  });
});

describe('receipts', () => {
  test('come to those who asked', async () => {
    const { net, live } = await open();
    net.socket.welcome();
    /** @type {any[]} */
    const got = [];
    live.subscribe('a', () => {}, { receipts: (r) => got.push(r) });
    assert.equal(subscribed(net.socket).receipts, true);
    net.socket.say({ receipt: { topic: 'a', user: 'ben', delivered: 9, read: 7 } });
    net.socket.say({ receipt: { topic: 'a', delivered: 9, delivered_by: 120, read_by: 80 } });
    assert.deepEqual(got.map((r) => [r.user, r.delivered, r.read, r.deliveredBy, r.readBy]), [['ben', 9, 7, undefined, undefined], [undefined, 9, 0, 120, 80]]);
    const list = live.receipts('a');
    net.socket.say({ id: net.socket.take('receipts').id, receipts: { topic: 'a', receipts: [{ topic: 'a', user: 'ben', delivered: 9 }] } });
    assert.equal((await list)[0].read, 0);
    live.close();
  });

  test('of what was read are told again on the next connection', async () => {
    const { net, live } = await open();
    net.socket.welcome();
    live.read('a', 3);
    live.read('a', 2);
    assert.deepEqual(net.socket.takeAll('read'), [{ read: { topic: 'a', seq: 3 } }]);
    net.socket.end(1006);
    live.read('a', 5);
    await net.clock.advance(1000);
    net.socket.welcome();
    assert.deepEqual(net.socket.takeAll('read'), [{ read: { topic: 'a', seq: 5 } }]);
    live.close();
  });
});
