import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect, ParleyError } from '../parley.js';
import { message, network, settled } from './fake.js';

/** @param {import('../parley.js').Parley} live */
function states(live) {
  /** @type {any[]} */
  const seen = [];
  live.on('state', (s) => seen.push(s));
  return seen;
}

describe('connecting', () => {
  test('says who it is in the first frame and becomes connected', async () => {
    const net = network();
    const live = connect('/ws', { ...net.options, token: 'secret', device: 'phone-1' });
    const seen = states(live);
    await settled();
    assert.equal(net.socket.url, 'wss://app.example/ws');
    assert.deepEqual(net.socket.protocols, ['parley.v1.json']);
    const hello = net.socket.welcome({ user: 'ann' });
    assert.match(hello.producer, /^p-[0-9a-f]{24}$/);
    assert.deepEqual(hello, { token: 'secret', device: 'phone-1', producer: hello.producer, subscriptions: [] });
    assert.deepEqual(seen, [{ state: 'connected', user: 'ann', resumed: false }]);
    assert.equal(live.user, 'ann');
    live.close();
    assert.equal(live.state.state, 'closed');
    assert.equal(net.clock.pending, 0, 'a closed client leaves no timer behind');
  });

  test('a path means nothing outside a page', () => {
    assert.throws(() => connect('/ws', { surroundings: {} }), /give all of it/);
  });

  test('one frame may hold several replies, and they apply in order', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    /** @type {any[]} */
    const got = [];
    live.subscribe('a', (m) => got.push(m.payload));
    await settled();
    net.socket.accept();
    const { id } = net.socket.take('connect');
    const subscriptions = [{ topic: 'a', position: { epoch: 'k', seq: 4 } }];
    net.socket.say([{ id, connected: { session: 's', subscriptions } }, message('a', 5), message('a', 6)]);
    assert.deepEqual(got, [5, 6]);
    live.close();
  });

  test('an answer that never comes is a lost connection', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    await settled();
    net.socket.accept();
    await net.clock.advance(15_000);
    assert.equal(live.state.state, 'reconnecting');
    assert.ok(net.socket.closed);
    live.close();
  });
});

describe('backoff', () => {
  /** The delays of the first attempts when the dice always show r. @param {number} r */
  async function delays(r) {
    const net = network();
    const live = connect('/ws', { ...net.options, random: () => r });
    const seen = states(live);
    await settled();
    for (let i = 0; i < 9; i++) {
      net.socket.end(1006);
      await net.clock.advance(seen.at(-1).retryIn);
    }
    live.close();
    return seen.filter((s) => s.state === 'reconnecting').map((s) => s.retryIn);
  }

  test('doubles from half a second to thirty', async () => {
    assert.deepEqual(await delays(1), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  });

  test('jitter is full: anything down to nothing', async () => {
    assert.deepEqual(await delays(0), [0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual((await delays(0.5)).slice(0, 3), [250, 500, 1000]);
  });

  test('spreads evenly over the whole range', async () => {
    const net = network();
    const live = connect('/ws', { ...net.options, random: Math.random });
    const seen = states(live);
    await settled();
    for (let i = 0; i < 400; i++) {
      net.socket.end(1006);
      await net.clock.advance(seen.at(-1).retryIn);
    }
    live.close();
    const late = seen.filter((s) => s.attempt > 6).map((s) => s.retryIn);
    assert.ok(late.every((d) => d >= 0 && d <= 30_000));
    for (let quarter = 0; quarter < 4; quarter++) {
      const inside = late.filter((d) => d >= quarter * 7500 && d < (quarter + 1) * 7500).length;
      assert.ok(inside > late.length / 8, `only ${inside} of ${late.length} in quarter ${quarter}`);
    }
  });

  test('starts anew only after a connection that lasted', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    const seen = states(live);
    await settled();
    for (const [lasting, attempt] of [[100, 1], [100, 2], [11_000, 1]]) {
      net.socket.welcome();
      await net.clock.advance(lasting);
      net.socket.end(1006);
      assert.equal(seen.at(-1).attempt, attempt);
      await net.clock.advance(seen.at(-1).retryIn);
    }
    live.close();
  });

  test('waits as long as the server asks, and the jitter on top', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    const seen = states(live);
    await settled();
    net.socket.welcome();
    net.socket.say({ leaving: { reason: 'draining', retry_after_ms: 1730 } });
    net.socket.end(4000);
    assert.deepEqual(seen.at(-1), { state: 'reconnecting', attempt: 1, retryIn: 1980, reason: 'draining' });
    net.surroundings.dispatchEvent(new Event('online'));
    await settled();
    assert.equal(net.sockets.length, 1, 'the network coming back does not overrule the server');
    await net.clock.advance(1980);
    assert.equal(net.sockets.length, 2);
    live.close();
  });

  for (const wake of ['online', 'visible']) {
    test(`comes back at once when ${wake}`, async () => {
      const net = network();
      const live = connect('/ws', { ...net.options, random: () => 1 });
      await settled();
      for (let i = 0; i < 6; i++) {
        net.socket.end(1006);
        await net.clock.advance(i < 5 ? 500 * 2 ** i : 0);
      }
      assert.equal(net.sockets.length, 6);
      if (wake === 'online') net.surroundings.dispatchEvent(new Event('online'));
      else net.surroundings.document.dispatchEvent(new Event('visibilitychange'));
      await settled();
      assert.equal(net.sockets.length, 7);
      live.close();
    });
  }

  test('is called offline while the browser has no network, and keeps trying', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    const seen = states(live);
    await settled();
    net.surroundings.navigator.onLine = false;
    net.socket.end(1006);
    assert.equal(seen.at(-1).state, 'offline');
    await net.clock.advance(250);
    assert.equal(net.sockets.length, 2);
    live.close();
  });
});

describe('the end of a connection', () => {
  const cases = [
    { code: 1001, state: 'reconnecting' },
    { code: 1006, state: 'reconnecting' },
    { code: 1009, state: 'reconnecting' },
    { code: 4000, state: 'reconnecting' },
    { code: 4001, state: 'reconnecting' },
    { code: 4499, state: 'reconnecting' },
    { code: 4500, state: 'closed' },
    { code: 4501, state: 'closed' },
    { code: 4999, state: 'closed' },
  ];
  for (const { code, state } of cases) {
    test(`${code} means ${state}`, async () => {
      const net = network();
      const live = connect('/ws', net.options);
      await settled();
      net.socket.welcome();
      const waiting = live.publish('a', 1);
      net.socket.end(code, 'said so');
      assert.equal(live.state.state, state);
      if (state === 'closed') {
        assert.deepEqual(live.state, { state, reason: 'said so', code });
        await assert.rejects(waiting, { code: 'closed' });
        await net.clock.advance(120_000);
        assert.equal(net.sockets.length, 1);
      } else waiting.catch(() => {});
      live.close();
    });
  }

  test('an error that will never pass ends it before the close code is seen', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    /** @type {any[]} */
    const errors = [];
    live.on('error', (e) => errors.push(e));
    await settled();
    net.socket.accept();
    const { id } = net.socket.take('connect');
    net.socket.say({ id, error: { code: 'unauthorized', number: 401, message: 'sign in first', retry: 'never' } });
    assert.deepEqual(live.state, { state: 'closed', reason: 'unauthorized', code: 4500 });
    assert.ok(errors[0] instanceof ParleyError);
    assert.equal(errors[0].number, 401);
  });

  test('connect() opens a closed one again, with its subscriptions', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    live.subscribe('a', () => {});
    await settled();
    net.socket.welcome();
    net.socket.end(4502, 'disconnected');
    live.connect();
    await settled();
    assert.equal(net.socket.welcome().subscriptions.length, 1);
    assert.equal(live.state.state, 'connected');
    live.close();
  });
});

describe('silence', () => {
  test('no frame for ping_seconds and ten more is a dead connection', async () => {
    const net = network();
    const live = connect('/ws', net.options);
    await settled();
    net.socket.welcome({ ping_seconds: 25 });
    await net.clock.advance(30_000);
    net.socket.say({ ping: {} });
    assert.deepEqual(net.socket.take('pong'), { pong: {} });
    await net.clock.advance(34_999);
    assert.equal(live.state.state, 'connected');
    await net.clock.advance(1);
    assert.equal(live.state.state, 'reconnecting');
    live.close();
  });

  for (const [name, answered] of /** @type {[string, boolean][]} */ ([['kept', true], ['dropped', false]])) {
    test(`a connection that was asked for a sign of life is ${name}`, async () => {
      const net = network();
      const live = connect('/ws', net.options);
      await settled();
      net.socket.welcome();
      net.surroundings.dispatchEvent(new Event('offline'));
      const { id } = net.socket.take('ping');
      if (answered) net.socket.say({ id, pong: {} });
      await net.clock.advance(5000);
      assert.equal(live.state.state, answered ? 'connected' : 'reconnecting');
      live.close();
    });
  }
});

describe('tokens', () => {
  test('an expired one is fetched anew', async () => {
    const net = network();
    let n = 0;
    const live = connect('/ws', { ...net.options, token: async () => `token-${++n}` });
    await settled();
    assert.equal(net.socket.welcome().token, 'token-1');
    net.socket.end(1006);
    await net.clock.advance(500);
    const again = net.socket.welcome();
    assert.equal(again.token, 'token-1', 'a reconnect alone costs no lookup');
    assert.equal(again.session, 'ticket-1');
    net.socket.end(4100);
    await net.clock.advance(1000);
    net.socket.accept();
    const { id, connect: hello } = net.socket.take('connect');
    assert.equal(hello.token, 'token-2');
    net.socket.say({ id, error: { code: 'token_expired', retry: 'later' } });
    await net.clock.advance(2000);
    assert.equal(net.socket.welcome().token, 'token-3');
    live.close();
  });

  test('one that cannot be fetched anew ends it', async () => {
    const net = network();
    const live = connect('/ws', { ...net.options, token: 'fixed' });
    await settled();
    net.socket.welcome();
    net.socket.end(4100);
    assert.equal(live.state.state, 'closed');
  });

  test('is refreshed before it expires', async () => {
    const net = network();
    let n = 0;
    const live = connect('/ws', { ...net.options, token: () => `token-${++n}` });
    await settled();
    net.socket.welcome({ ping_seconds: 0, expires_in_ms: 600_000 });
    await net.clock.advance(480_000);
    const { id, refresh } = net.socket.take('refresh');
    assert.deepEqual(refresh, { token: 'token-2' });
    net.socket.say({ id, refreshed: { expires_in_ms: 60_000 } });
    await net.clock.advance(30_000);
    assert.deepEqual(net.socket.take('refresh').refresh, { token: 'token-3' });
    live.close();
  });

  test('a function that fails is asked again later', async () => {
    const net = network();
    let n = 0;
    const token = () => (++n === 1 ? Promise.reject(new Error('no network')) : Promise.resolve('fine'));
    const live = connect('/ws', { ...net.options, token });
    await settled();
    assert.equal(live.state.state, 'reconnecting');
    await net.clock.advance(250);
    assert.equal(net.socket.welcome().token, 'fine');
    live.close();
  });

  test('a ticket is fetched for every connection', async () => {
    const net = network();
    let n = 0;
    const live = connect('/ws', { ...net.options, ticket: () => `one-use-${++n}` });
    await settled();
    assert.equal(net.socket.welcome().token, 'one-use-1');
    net.socket.end(1006);
    await net.clock.advance(500);
    assert.equal(net.socket.welcome().token, 'one-use-2');
    live.close();
  });
});
