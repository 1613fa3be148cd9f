import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect } from '../parley.js';
import { network, settled } from './fake.js';

/** @param {any[]} frames */
const payloads = (frames) => frames.map((f) => f.publish.payload);

describe('the outbox', () => {
  test('keeps what is published before there is a connection, in order', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    const all = [1, 2, 3].map((n) => live.publish('a', n, { type: 'n' }));
    await settled();
    net.socket.welcome();
    const sent = net.socket.takeAll('publish');
    assert.deepEqual(payloads(sent), [1, 2, 3]);
    assert.equal(new Set(sent.map((f) => f.publish.key)).size, 3, 'every message has a key of its own');
    for (const { id } of sent) net.socket.say({ id, published: { position: { epoch: 'k', seq: id }, duplicate: false } });
    assert.deepEqual((await Promise.all(all)).map((p) => p?.position.seq), sent.map((f) => f.id));
    live.close();
  });

  test('sends what was not answered again with the same key, before what came later', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    await settled();
    net.socket.welcome();
    const first = live.publish('a', 1);
    live.publish('a', 2, { key: 'mine' }).catch(() => {});
    const before = net.socket.takeAll('publish');
    net.socket.say({ id: before[0].id, published: { position: { epoch: 'k', seq: 1 } } });
    assert.equal((await first)?.duplicate, undefined);
    net.socket.end(1006);
    live.publish('a', 3).catch(() => {});
    await net.clock.advance(500);
    net.socket.welcome();
    const after = net.socket.takeAll('publish');
    assert.deepEqual(payloads(after), [2, 3]);
    assert.equal(after[0].publish.key, 'mine');
    live.close();
  });

  test('is bounded by number and by bytes', async () => {
    const net = network();
    const few = connect('/ws', { ...net.options, outbox: 2 });
    const small = connect('/ws', { ...net.options, outboxBytes: 1000 });
    const waiting = [few.publish('a', 1), few.publish('a', 2), small.publish('a', 'x'.repeat(800))];
    await assert.rejects(few.publish('a', 3), { code: 'outbox_full', retry: 'later' });
    await assert.rejects(small.publish('a', 'x'.repeat(800)), { code: 'outbox_full' });
    few.close();
    small.close();
    for (const p of waiting) await assert.rejects(p, { code: 'closed' });
    await assert.rejects(few.publish('a', 4), { code: 'closed' });
  });

  test('puts many small messages into few frames, and no frame grows large', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    for (let n = 0; n < 200; n++) live.publish('a', 'x'.repeat(200)).catch(() => {});
    live.publish('a', 'x'.repeat(40_000)).catch(() => {});
    await settled();
    /** @type {string[]} */
    const texts = [];
    const send = net.socket.send.bind(net.socket);
    net.socket.send = (text) => void (texts.push(text), send(text));
    net.socket.welcome();
    assert.ok(texts.length < 10, `${texts.length} frames`);
    assert.deepEqual(texts.slice(1, -1).filter((t) => t.length > 17_000), []);
    assert.equal(net.socket.takeAll('publish').length, 201);
    live.close();
  });

  test('has only so many under way at once', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    for (let n = 0; n < 300; n++) live.publish('a', n).catch(() => {});
    await settled();
    net.socket.welcome();
    const sent = net.socket.takeAll('publish');
    assert.equal(sent.length, 256);
    for (const { id } of sent.slice(0, 10)) net.socket.say({ id, published: {} });
    assert.deepEqual(payloads(net.socket.takeAll('publish')), [256, 257, 258, 259, 260, 261, 262, 263, 264, 265]);
    live.close();
  });

  test('the server’s refusal is the answer', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    await settled();
    net.socket.welcome();
    const refused = live.publish('admin/x', 1);
    net.socket.say({
      id: net.socket.take('publish').id,
      error: { code: 'rate_limited', number: 429, message: 'slowly', retry: 'later', retry_after_ms: 1500 },
    });
    await assert.rejects(refused, { code: 'rate_limited', number: 429, message: 'slowly', retry: 'later', retryAfter: 1500 });
    live.close();
  });

  test('a message too big for the server does not end every connection', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    await settled();
    net.socket.welcome();
    const small = live.publish('a', 'x');
    const big = live.publish('a', 'x'.repeat(100_000));
    net.socket.end(1009);
    await assert.rejects(big, { code: 'too_large', number: 413 });
    await net.clock.advance(500);
    net.socket.welcome();
    const [again] = net.socket.takeAll('publish');
    net.socket.say({ id: again.id, published: { position: { epoch: 'k', seq: 1 } } });
    await small;
    live.close();
  });

  test('a volatile message is sent now or never', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    live.publish('a', 'typing', { volatile: true });
    await settled();
    net.socket.welcome();
    assert.deepEqual(net.socket.takeAll('publish'), []);
    live.publish('a', 'typing', { volatile: true });
    assert.deepEqual(net.socket.takeAll('publish'), [{ publish: { topic: 'a', payload: 'typing' } }]);
    live.close();
  });

  test('bytes travel as data', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    await settled();
    net.socket.welcome();
    live.publish('a', new Uint8Array([0, 255, 16])).catch(() => {});
    const { publish } = net.socket.take('publish');
    assert.equal(publish.data, 'AP8Q');
    /** @type {any} */
    let got;
    live.on('message', (m) => (got = m));
    net.socket.say({ message: { topic: 'a', seq: 1, data: 'AP8Q' } });
    assert.deepEqual([...got.data], [0, 255, 16]);
    live.close();
  });
});

describe('calls', () => {
  test('go sixteen at a time, and do not hold up what is published', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    await settled();
    net.socket.welcome();
    for (let n = 0; n < 20; n++) live.call('slow', n).catch(() => {});
    live.publish('a', 1).catch(() => {});
    const under = net.socket.takeAll('call');
    assert.equal(under.length, 16);
    assert.equal(net.socket.takeAll('publish').length, 1);
    net.socket.say({ id: under[3].id, result: {} });
    assert.deepEqual(net.socket.takeAll('call').map((f) => f.call.payload), [16]);
    live.close();
  });

  test('are answered with the payload', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    const answer = live.call('post.create', { title: 'x' }, { timeout: 5000 });
    await settled();
    net.socket.welcome();
    const { id, call } = net.socket.take('call');
    assert.deepEqual(call, { type: 'post.create', payload: { title: 'x' }, timeout_ms: 5000 });
    net.socket.say({ id, result: { payload: { id: 7 } } });
    assert.deepEqual(await answer, { id: 7 });
    live.close();
  });

  test('time out, also while there is no connection', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    const answer = live.call('slow', {}, { timeout: 3000 });
    const failed = assert.rejects(answer, { code: 'timeout', number: 504 });
    await net.clock.advance(3000);
    await failed;
    net.socket.welcome();
    assert.deepEqual(net.socket.takeAll('call'), []);
    live.close();
  });

  for (const idempotent of [false, true]) {
    test(`under way when the connection broke are ${idempotent ? 'sent again when that is harmless' : 'not repeated'}`, async () => {
      const net = network();
      const live = connect('/ws', net.options);
      await settled();
      net.socket.welcome();
      const answer = live.call('pay', {}, { idempotent });
      const outcome = idempotent ? answer : assert.rejects(answer, { code: 'disconnected' });
      net.socket.end(1006);
      await net.clock.advance(500);
      net.socket.welcome();
      const again = net.socket.takeAll('call');
      assert.equal(again.length, idempotent ? 1 : 0);
      if (idempotent) net.socket.say({ id: again[0].id, result: { payload: 'paid' } });
      assert.equal(await outcome, idempotent ? 'paid' : undefined);
      live.close();
    });
  }

  test('history and presence ask and answer', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    await settled();
    net.socket.welcome();
    const page = live.history('a', { before: { seq: 41 }, limit: 2 });
    const asked = net.socket.take('history');
    assert.deepEqual(asked.history, { topic: 'a', before: { seq: 41 }, limit: 2 });
    net.socket.say({ id: asked.id, history: { topic: 'a', messages: [{ topic: 'a', seq: 40, payload: 1 }], more: true } });
    assert.equal((await page).messages[0].seq, 40);
    const who = live.presence('a');
    net.socket.say({ id: net.socket.take('presence').id, presence: { topic: 'a', members: [{ user: 'u1' }] } });
    assert.deepEqual(await who, [{ user: 'u1' }]);
    live.close();
  });
});
