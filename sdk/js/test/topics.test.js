import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect, matches } from '../parley.js';
import { message, network, settled } from './fake.js';

/** A connected client. @param {any} [more] options */
async function connected(more = {}) {
  const net = network();
  const live = connect('/ws', { ...net.options, ...more });
  await settled();
  net.socket.welcome();
  return { net, live };
}

/** Subscribes from now, at a position. @param {any} net @param {import('../parley.js').Parley} live @param {string} topic @param {number} seq @param {any} [options] */
function subscribed(net, live, topic, seq, options) {
  /** @type {any[]} */
  const got = [];
  const sub = live.subscribe(topic, (m) => void got.push(m.payload), options);
  const { id, subscribe } = net.socket.take('subscribe');
  net.socket.say({ id, subscribed: { topic, position: { epoch: 'k', seq }, recovered: Boolean(subscribe.since), qos: subscribe.qos } });
  return { got, sub, subscribe };
}

/** Breaks the connection and lets the client come back. @param {any} net */
async function cut(net) {
  net.socket.end(1006);
  await net.clock.advance(500);
}

describe('filters', () => {
  const cases = /** @type {[string, string, boolean][]} */ ([
    ['a/b', 'a/b', true],
    ['a/b', 'a/c', false],
    ['a/+', 'a/b', true],
    ['a/+', 'a', false],
    ['a/+', 'a/b/c', false],
    ['a/#', 'a/b/c', true],
    ['a/#', 'a', true],
    ['#', 'a', true],
    ['+/b', 'a/b', true],
    ['#', '$user/u1', false],
    ['$user/#', '$user/u1', true],
    ['a/+/c', 'a//c', true],
  ]);
  for (const [filter, topic, want] of cases) {
    test(`${filter} ${want ? 'matches' : 'does not match'} ${topic}`, () => assert.equal(matches(filter, topic), want));
  }
});

describe('subscribing', () => {
  test('handlers of one topic share one subscription on the wire', async () => {
    const { net, live } = await connected();
    const { got, sub } = subscribed(net, live, 'a', 3);
    /** @type {any[]} */
    const second = [];
    const other = live.subscribe('a', (m) => second.push(m.payload));
    assert.deepEqual(net.socket.takeAll('subscribe'), []);
    assert.deepEqual(await other.ready, { epoch: 'k', seq: 3 });
    net.socket.say(message('a', 4));
    sub.unsubscribe();
    net.socket.say(message('a', 5));
    assert.deepEqual(net.socket.takeAll('unsubscribe'), []);
    other.unsubscribe();
    assert.equal(net.socket.takeAll('unsubscribe').length, 1);
    net.socket.say(message('a', 6));
    assert.deepEqual([got, second], [[4], [4, 5]]);
    live.close();
  });

  test('a topic left and entered again begins from now', async () => {
    const { net, live } = await connected();
    subscribed(net, live, 'a', 3).sub.unsubscribe();
    assert.equal(subscribed(net, live, 'a', 9).subscribe.since, undefined);
    live.close();
  });

  test('a refusal reaches whoever waits, and the topic is not asked for again', async () => {
    const { net, live } = await connected();
    /** @type {any[]} */
    const errors = [];
    live.on('error', (e) => errors.push(e.code));
    const sub = live.subscribe('secret');
    const { id } = net.socket.take('subscribe');
    net.socket.say({ id, error: { code: 'forbidden', number: 403, message: 'not yours', retry: 'never' } });
    await assert.rejects(sub.ready, { code: 'forbidden', number: 403 });
    await assert.rejects(sub[Symbol.asyncIterator]().next(), { code: 'forbidden' });
    await cut(net);
    assert.deepEqual(net.socket.welcome().subscriptions, []);
    assert.deepEqual(errors, ['forbidden']);
    live.close();
  });

  test('a refusal for now is tried again', async () => {
    const { net, live } = await connected();
    live.on('error', () => {});
    live.subscribe('a');
    const { id } = net.socket.take('subscribe');
    net.socket.say({ id, error: { code: 'rate_limited', retry: 'later', retry_after_ms: 2000 } });
    await net.clock.advance(4500);
    assert.equal(net.socket.takeAll('subscribe').length, 1);
    live.close();
  });

  test('an end after the answer is noticed', async () => {
    const { net, live } = await connected();
    live.on('error', () => {});
    const sub = live.subscribe('a');
    const { id } = net.socket.take('subscribe');
    net.socket.say({ id, subscribed: { topic: 'a', position: { epoch: 'k', seq: 1 } } });
    await sub.ready;
    net.socket.say({ id, error: { code: 'overloaded', retry: 'later' } });
    net.socket.say({ unsubscribed: { topic: 'a' } }); // the server names what ended
    await net.clock.advance(4500);
    assert.deepEqual(net.socket.take('subscribe').subscribe.since, { epoch: 'k', seq: 1 });
    net.socket.say({ unsubscribed: { topic: 'a' } });
    await assert.rejects(sub[Symbol.asyncIterator]().next(), { code: 'forbidden' });
    live.close();
  });

  test('a position makes no sense for a filter', async () => {
    const { live } = await connected();
    assert.throws(() => live.subscribe('a/#', () => {}, { since: { seq: 4 } }), /one topic/);
    live.close();
  });

  test('can be read as an iteration', async () => {
    const { net, live } = await connected();
    const sub = live.subscribe('a');
    const { id } = net.socket.take('subscribe');
    net.socket.say([{ id, subscribed: { topic: 'a', position: { epoch: 'k', seq: 0 } } }, message('a', 1), message('a', 2)]);
    const got = [];
    for await (const m of sub) {
      got.push(m.payload);
      if (m.seq === 2) setImmediate(() => net.socket.say(message('a', 3)));
      if (m.seq === 3) break;
    }
    assert.deepEqual(got, [1, 2, 3]);
    assert.equal(net.socket.takeAll('unsubscribe').length, 1, 'leaving the loop ends the subscription');
    live.close();
  });

  test('an iteration that does not keep up ends with an error instead of losing messages', async () => {
    const { net, live } = await connected();
    const sub = live.subscribe('a', undefined, { buffer: 2 });
    for (let seq = 1; seq <= 3; seq++) net.socket.say(message('a', seq));
    const reader = sub[Symbol.asyncIterator]();
    assert.equal((await reader.next()).value?.payload, 1);
    assert.equal((await reader.next()).value?.payload, 2);
    await assert.rejects(reader.next(), { code: 'slow_consumer' });
    live.close();
  });

  test('one that is there for presence alone keeps no messages', async () => {
    const { net, live } = await connected();
    const sub = live.subscribe('a', undefined, { presence: () => {}, buffer: 1 });
    net.socket.say([message('a', 1), message('a', 2), message('a', 3)]);
    assert.deepEqual(net.socket.takeAll('unsubscribe'), []);
    sub.unsubscribe();
    live.close();
  });

  test('a handler that throws harms no other', async () => {
    const { net, live } = await connected();
    /** @type {any[]} */
    const errors = [];
    live.on('error', (e) => errors.push(e.message));
    live.subscribe('a', () => {
      throw new Error('boom');
    });
    live.subscribe('a', async () => {
      throw new Error('later boom');
    });
    const { got } = subscribed(net, live, 'a', 0);
    net.socket.say(message('a', 1));
    await settled();
    assert.deepEqual(got, [1]);
    assert.deepEqual(errors, ['boom', 'later boom']);
    live.close();
  });

  test('presence is told to those who asked', async () => {
    const { net, live } = await connected();
    /** @type {any[]} */
    const events = [];
    const { subscribe } = subscribed(net, live, 'a', 0, { presence: (/** @type {any} */ e) => events.push(e) });
    assert.equal(subscribe.presence, true);
    net.socket.say([{ joined: { topic: 'a', user: 'u3' } }, { left: { topic: 'a', user: 'u3' } }]);
    assert.deepEqual(events.map((e) => e.change), ['joined', 'left']);
    live.close();
  });

  test('direct messages need no subscription', async () => {
    const { net, live } = await connected();
    /** @type {any[]} */
    const direct = [];
    live.on('direct', (m) => direct.push(m.payload));
    net.socket.say({ message: { topic: '$user/u1', id: 'x', type: 'hint', from: '', time: 1, payload: 'hello' } });
    net.socket.say(message('$user/u1', 7));
    net.socket.say(message('$user/u1', 9));
    assert.deepEqual(direct, ['hello', 7, 9]);
    assert.deepEqual(net.socket.takeAll('history'), []);
    live.close();
  });
});

describe('acknowledging', () => {
  test('waits for the handlers and covers many messages at once', async () => {
    const { net, live } = await connected();
    /** @type {Map<number, () => void>} */
    const finish = new Map();
    live.subscribe('a', (m) => new Promise((resolve) => finish.set(m.seq, () => resolve(undefined))), { qos: 1 });
    const { id } = net.socket.take('subscribe');
    net.socket.say({ id, subscribed: { topic: 'a', position: { epoch: 'k', seq: 0 }, qos: 1 } });
    for (let seq = 1; seq <= 3; seq++) net.socket.say(message('a', seq));
    finish.get(2)?.();
    await net.clock.advance(100);
    assert.deepEqual(net.socket.takeAll('ack'), [], 'the first is still at work');
    finish.get(1)?.();
    await net.clock.advance(100);
    assert.deepEqual(net.socket.takeAll('ack'), [{ ack: { topic: 'a', seq: 2 } }]);
    finish.get(3)?.();
    await net.clock.advance(100);
    assert.deepEqual(net.socket.takeAll('ack'), [{ ack: { topic: 'a', seq: 3 } }]);
    live.close();
  });

  test('is not done for qos 0', async () => {
    const { net, live } = await connected();
    subscribed(net, live, 'a', 0);
    net.socket.say(message('a', 1));
    await net.clock.advance(100);
    assert.deepEqual(net.socket.takeAll('ack'), []);
    live.close();
  });
});

describe('resuming', () => {
  test('is one round trip from the last message, without duplicates', async () => {
    const { net, live } = await connected();
    const { got } = subscribed(net, live, 'a', 3);
    net.socket.say([message('a', 4), message('a', 5)]);
    await cut(net);
    const subscriptions = [{ topic: 'a', position: { epoch: 'k', seq: 7 }, recovered: true }];
    const hello = net.socket.welcome({ resumed: true, subscriptions });
    assert.equal(hello.session, 'ticket-1');
    assert.deepEqual(hello.subscriptions, [{ topic: 'a', qos: 0, since: { epoch: 'k', seq: 5 } }]);
    assert.deepEqual(net.socket.takeAll('subscribe'), []);
    net.socket.say([message('a', 5), message('a', 6), message('a', 7), message('a', 7), message('a', 8)]);
    assert.deepEqual(got, [4, 5, 6, 7, 8]);
    live.close();
  });

  test('begins where the page was rendered', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    /** @type {any[]} */
    const got = [];
    const sub = live.subscribe('a', (m) => got.push(m.payload), { since: { epoch: 'k', seq: 41 } });
    await settled();
    const subscriptions = [{ topic: 'a', position: { epoch: 'k', seq: 43 }, recovered: true }];
    assert.deepEqual(net.socket.welcome({ subscriptions }).subscriptions[0].since, { epoch: 'k', seq: 41 });
    net.socket.say([message('a', 41), message('a', 42), message('a', 43)]);
    assert.deepEqual(got, [42, 43]);
    await sub.ready;
    live.close();
  });

  test('says so when the server cannot recover, once, and goes on from there', async () => {
    const { net, live } = await connected();
    /** @type {any[]} */
    const gaps = [];
    live.on('gap', (g) => gaps.push(g));
    const { got } = subscribed(net, live, 'a', 90, { onGap: (/** @type {any} */ g) => gaps.push(g) });
    await cut(net);
    const position = { epoch: 'new', seq: 2 };
    net.socket.welcome({ subscriptions: [{ topic: 'a', position, recovered: false }] });
    net.socket.say([{ gap: { topic: 'a', position } }, message('a', 3)]);
    assert.deepEqual(gaps, [{ topic: 'a', position }, { topic: 'a', position }], 'the handle and the event, each once');
    assert.deepEqual(got, [3]);
    assert.deepEqual(live.position('a'), { epoch: 'new', seq: 3 });
    live.close();
  });

  test('asks history for the topics that came through a wildcard', async () => {
    const { net, live } = await connected();
    /** @type {any[]} */
    const got = [];
    live.subscribe('room/+', (m) => got.push(`${m.topic}:${m.seq}`));
    const { id } = net.socket.take('subscribe');
    net.socket.say([{ id, subscribed: { topic: 'room/+' } }, message('room/1', 8, { epoch: 'k' }), message('room/2', 3, { epoch: 'k' })]);
    await cut(net);
    net.socket.welcome({ subscriptions: [{ topic: 'room/+' }] });
    const asked = net.socket.takeAll('history');
    assert.deepEqual(asked.map((f) => f.history.after), [{ epoch: 'k', seq: 8 }, { epoch: 'k', seq: 3 }]);
    net.socket.say(message('room/1', 10)); // live, before history is read
    net.socket.say({ id: asked[0].id, history: { topic: 'room/1', messages: [message('room/1', 9).message, message('room/1', 10).message], position: { epoch: 'k', seq: 10 } } });
    net.socket.say({ id: asked[1].id, history: { topic: 'room/2', position: { epoch: 'k', seq: 3 } } });
    net.socket.say(message('room/2', 4));
    assert.deepEqual(got, ['room/1:8', 'room/2:3', 'room/1:9', 'room/1:10', 'room/2:4']);
    live.close();
  });

  test('a subscriber that comes later gets its older messages too', async () => {
    const { net, live } = await connected();
    const { got } = subscribed(net, live, 'a', 5);
    net.socket.say(message('a', 6));
    /** @type {any[]} */
    const late = [];
    live.subscribe('a', (m) => late.push(m.seq), { since: { epoch: 'k', seq: 4 } });
    const { id, history } = net.socket.take('history');
    assert.deepEqual(history.after, { epoch: 'k', seq: 4 });
    net.socket.say(message('a', 7));
    const messages = [5, 6, 7].map((seq) => message('a', seq).message);
    net.socket.say({ id, history: { topic: 'a', messages, position: { epoch: 'k', seq: 7 } } });
    net.socket.say(message('a', 8));
    assert.deepEqual([got, late], [[6, 7, 8], [5, 6, 7, 8]]);
    live.close();
  });
});

describe('a gap in the numbers', () => {
  test('is filled from history, page by page, before what came after it', async () => {
    const { net, live } = await connected();
    const { got } = subscribed(net, live, 'a', 10);
    net.socket.say([message('a', 14), message('a', 15)]);
    assert.deepEqual(got, []);
    const first = net.socket.take('history');
    assert.deepEqual(first.history.after, { epoch: 'k', seq: 10 });
    const page = (/** @type {number[]} */ ...seqs) => seqs.map((seq) => message('a', seq).message);
    net.socket.say({ id: first.id, history: { topic: 'a', messages: page(11, 12), more: true, position: { epoch: 'k', seq: 15 } } });
    const second = net.socket.take('history');
    assert.deepEqual(second.history.after, { epoch: 'k', seq: 12 });
    net.socket.say({ id: second.id, history: { topic: 'a', messages: page(13, 14), position: { epoch: 'k', seq: 15 } } });
    assert.deepEqual(got, [11, 12, 13, 14, 15]);
    live.close();
  });

  for (const [why, answer] of /** @type {[string, any][]} */ ([
    ['history no longer holds it', { history: { messages: [message('a', 13).message], position: { epoch: 'k', seq: 14 } } }],
    ['history may not be read', { error: { code: 'forbidden', retry: 'never' } }],
    ['history is empty', { history: {} }],
    ['history forgot everything', { history: { position: { epoch: 'k', seq: 14 } } }],
  ])) {
    test(`is told when ${why}`, async () => {
      const { net, live } = await connected();
      let gaps = 0;
      live.on('gap', () => gaps++);
      const { got } = subscribed(net, live, 'a', 10);
      net.socket.say(message('a', 14));
      net.socket.say({ id: net.socket.take('history').id, ...answer });
      net.socket.say(message('a', 15));
      assert.equal(gaps, 1);
      assert.deepEqual(got.slice(-2), [14, 15], 'what arrived live is not lost');
      assert.deepEqual(net.socket.takeAll('history'), []);
      live.close();
    });
  }

  test('that my own message without echo left is none', async () => {
    const { net, live } = await connected();
    const { got } = subscribed(net, live, 'a', 10);
    live.publish('a', 1, { echo: false });
    const { id } = net.socket.take('publish');
    net.socket.say({ id, published: { position: { epoch: 'k', seq: 11 } } });
    net.socket.say(message('a', 12));
    assert.deepEqual(net.socket.takeAll('history'), []);
    assert.deepEqual(got, [12]);
    live.close();
  });

  test('a new epoch in the stream is told, and counting starts anew', async () => {
    const { net, live } = await connected();
    /** @type {any[]} */
    const gaps = [];
    live.on('gap', (g) => gaps.push(g.position));
    const { got } = subscribed(net, live, 'a', 10);
    net.socket.say(message('a', 1, { epoch: 'other' }));
    assert.deepEqual(gaps, [{ epoch: 'other', seq: 0 }]);
    assert.deepEqual(got, [1]);
    live.close();
  });

  test('a retained value older than the position is handed out once', async () => {
    const { net, live } = await connected();
    const { got } = subscribed(net, live, 'a', 10);
    net.socket.say([message('a', 4), message('a', 4), message('a', 11)]);
    assert.deepEqual(got, [4, 11]);
    live.close();
  });
});
