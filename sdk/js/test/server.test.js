import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connect } from '../parley.js';
import { event, reached, startCable, startServer } from './real.js';

/** @type {Awaited<ReturnType<typeof startServer>>} */
let server;
/** @type {Awaited<ReturnType<typeof startCable>>} */
let cable;

/** Collects messages until there are n. @param {number} n */
function collector(n) {
  /** @type {any[]} */
  const got = [];
  /** @type {(got: any[]) => void} */
  let full;
  const all = new Promise((resolve) => (full = resolve));
  return { got, all, add: (/** @type {any} */ m) => void (got.push(m), got.length === n && full(got)) };
}

describe('with a real server', { timeout: 120_000 }, () => {
  before(async () => {
    server = await startServer();
    cable = await startCable(server.port);
  });
  after(async () => {
    await cable?.stop();
    assert.equal(await server?.stop(), 0, 'the server ends cleanly');
  });

  test('publish, subscribe, call, history, presence and direct messages', async () => {
    const ann = connect(server.url, { token: 'ann' });
    const ben = connect(server.url, { token: 'ben' });
    const lines = collector(2);
    const sub = ben.subscribe('public/lobby', lines.add, { presence: true });
    assert.equal((await sub.ready)?.seq, 0);
    const first = await ann.publish('public/lobby', { text: 'hello' }, { type: 'chat.line', key: 'k1' });
    const again = await ann.publish('public/lobby', { text: 'hello' }, { type: 'chat.line', key: 'k1' });
    assert.deepEqual(again, { ...first, duplicate: true });
    await ann.publish('public/lobby', 'häppy 🎉');
    await lines.all;
    assert.deepEqual(lines.got.map((m) => [m.seq, m.from, m.payload]), [[1, 'ann', { text: 'hello' }], [2, 'ann', 'häppy 🎉']]);

    assert.deepEqual(await ann.call('question', { text: 'why' }), { text: 'WHY' });
    await assert.rejects(ann.call('question', {}), { code: 'bad_request', number: 400 });
    await assert.rejects(ann.call('no.such', {}), (/** @type {any} */ e) => e.number >= 400);
    await assert.rejects(ann.publish('admin/x', 1), { code: 'forbidden', number: 403 });
    await assert.rejects(ann.subscribe('user/ben/#').ready, { code: 'forbidden' });

    const page = await ann.history('public/lobby', { limit: 1 });
    assert.deepEqual([page.messages.map((m) => m.seq), page.more], [[2], true]);
    assert.deepEqual((await ann.presence('public/lobby')).map((m) => m.user), ['ben']);

    const direct = event(ann, 'direct');
    await ann.call('hint', { text: 'psst' });
    assert.deepEqual((await direct).payload, { text: 'psst' });
    const bytes = event(ben, 'message');
    await ann.publish('public/lobby', new Uint8Array([1, 2, 255]));
    assert.deepEqual([...(await bytes).data], [1, 2, 255]);
    ann.close();
    ben.close();
  });

  test('two people chat over a cable that is cut again and again: all lines once, in one order', async () => {
    const people = ['ann', 'ben'].map((token) => connect(cable.url, { token, random: () => 0.05 }));
    const each = 150;
    const seen = people.map(() => collector(2 * each));
    await Promise.all(people.map((live, i) => live.subscribe('public/cut', seen[i].add).ready));
    const sent = people.map(async (live, i) => {
      const waiting = [];
      for (let n = 0; n < each; n++) {
        waiting.push(live.publish('public/cut', `${i}:${n}`));
        if (n % 40 === 20) cable.cut();
        if (n % 7 === 0) await waiting.at(-1);
      }
      return Promise.all(waiting);
    });
    await Promise.all(sent);
    await Promise.all(seen.map((s) => s.all));
    const [a, b] = seen.map((s) => s.got.map((m) => m.payload));
    assert.deepEqual(a, b, 'both saw the same order');
    assert.equal(new Set(a).size, 2 * each, 'every line once');
    for (const i of [0, 1]) {
      const own = a.filter((p) => p.startsWith(`${i}:`)).map((p) => Number(p.slice(2)));
      assert.deepEqual(own, [...own].sort((x, y) => x - y), 'in the order they were written');
    }
    for (const live of people) live.close();
  });

  test('a silent network is noticed, and what was missed arrives', async () => {
    const fast = 5; // five seconds for the client are one for the server
    const clock = {
      now: () => performance.now() * fast,
      setTimeout: (/** @type {() => void} */ run, /** @type {number} */ ms) => setTimeout(run, ms / fast),
      clearTimeout: (/** @type {any} */ t) => clearTimeout(t),
    };
    const ann = connect(cable.url, { token: 'ann', clock });
    const ben = connect(server.url, { token: 'ben' });
    const lines = collector(3);
    await ann.subscribe('public/silent', lines.add).ready;
    await ben.publish('public/silent', 1);
    cable.freeze(true);
    const lost = event(ann, 'state', (s) => s.state === 'reconnecting');
    await ben.publish('public/silent', 2);
    const waiting = ann.publish('public/silent', 3);
    assert.match((await lost).reason, /silent/);
    cable.freeze(false);
    await waiting;
    await lines.all;
    assert.deepEqual(lines.got.map((m) => m.payload), [1, 2, 3]);
    ann.close();
    ben.close();
  });

  test('topics seen through a wildcard are caught up', async () => {
    const ann = connect(cable.url, { token: 'ann', random: () => 0.5 });
    const ben = connect(server.url, { token: 'ben' });
    const lines = collector(4);
    await ann.subscribe('public/w/+', lines.add).ready;
    const both = event(ann, 'message', (m) => m.payload === 2);
    await ben.publish('public/w/1', 1);
    await ben.publish('public/w/2', 2);
    await both;
    cable.cut();
    await reached(ann, 'reconnecting');
    await ben.publish('public/w/1', 3);
    await ben.publish('public/w/2', 4);
    await lines.all;
    assert.deepEqual(lines.got.map((m) => m.payload).sort(), [1, 2, 3, 4]);
    ann.close();
    ben.close();
  });

  test('what the server no longer keeps is told as a gap', async () => {
    const ann = connect(cable.url, { token: 'ann', random: () => 0.5 });
    const ben = connect(server.url, { token: 'ben' });
    const lines = collector(2);
    await ann.subscribe('public/short', lines.add).ready;
    const got = event(ann, 'message');
    await ben.publish('public/short', 1);
    await got;
    cable.cut();
    await reached(ann, 'reconnecting');
    const gap = event(ann, 'gap');
    for (let n = 2; n <= 6; n++) await ben.publish('public/short', n);
    assert.deepEqual((await gap).position.seq, 6);
    await reached(ann, 'connected');
    await ben.publish('public/short', 7);
    await lines.all;
    assert.deepEqual(lines.got.map((m) => m.payload), [1, 7]);
    ann.close();
    ben.close();
  });

  test('what a slow receiver was not sent is told as a gap and not fetched: it is behind as it is', async () => {
    const patient = await startServer('20s'); // or the silence would end what the test is about
    const line = await startCable(patient.port);
    const ann = connect(line.url, { token: 'ann' });
    const ben = connect(patient.url, { token: 'ben', outboxBytes: 32 << 20 });
    /** @type {any[]} */
    const got = [];
    /** @type {any[]} */
    const gaps = [];
    /** @type {(last: any) => void} */
    let ended;
    const end = new Promise((resolve) => (ended = resolve));
    const sub = ann.subscribe('public/pressed', (m) => void (m.type === 'end' ? ended(m) : got.push(m)));
    ann.on('gap', (gap) => gaps.push(gap));
    await sub.ready;
    line.hold(true);
    const total = 200;
    const filler = 'x'.repeat(60_000); // all together more than the system and the queue take
    const sent = [];
    for (let n = 0; n < total; n++) sent.push(ben.publish('public/pressed', { n, filler }));
    await Promise.all(sent);
    line.hold(false);
    await ben.publish('public/pressed', {}, { type: 'end' });
    const last = /** @type {any} */ (await end);
    assert.equal(last.seq, total + 1);
    assert.ok(got.length > 0 && got.length < total, `${got.length} of ${total} came`);
    const seqs = got.map((m) => m.seq);
    assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b), 'once, in order');
    assert.ok(gaps.length > 0 && gaps.every((g) => g.topic === 'public/pressed' && g.position.epoch === last.epoch), JSON.stringify(gaps));
    const missing = (/** @type {number} */ seq) => seq <= total && !seqs.includes(seq);
    assert.ok(gaps.every((g) => missing(g.position.seq)), 'a gap ends with a message that did not come');
    const { messages } = await ann.history('public/pressed', { limit: 1 });
    assert.equal(messages[0].seq, last.seq, 'the connection lives on');
    assert.equal(ann.state.state, 'connected');
    for (const live of [ann, ben]) live.close();
    await line.stop();
    assert.equal(await patient.stop(), 0);
  });

  test('a later subscriber begins with older messages', async () => {
    const ann = connect(server.url, { token: 'ann' });
    await ann.subscribe('public/late', () => {}).ready;
    for (let n = 1; n <= 3; n++) await ann.publish('public/late', n);
    const lines = collector(3);
    ann.subscribe('public/late', lines.add, { since: { seq: 1 } });
    await ann.publish('public/late', 4);
    await lines.all;
    assert.deepEqual(lines.got.map((m) => m.payload), [2, 3, 4]);
    ann.close();
  });

  test('tokens: expired fetched anew, forged refused, brief refreshed in place', async () => {
    let n = 0;
    const ann = connect(server.url, { token: () => (n++ ? 'ann' : 'ann-old') });
    await reached(ann, 'connected');
    assert.equal(n, 2);
    ann.close();

    const forged = connect(server.url, { token: 'ann-forged' });
    forged.on('error', () => {});
    await reached(forged, 'closed');

    let asked = 0;
    const brief = connect(server.url, { token: () => (asked++ ? 'ben' : 'ben-brief') });
    /** @type {string[]} */
    const states = [];
    brief.on('state', (s) => states.push(s.state));
    await reached(brief, 'connected');
    const ended = await Promise.race([event(brief, 'state'), new Promise((r) => setTimeout(r, 2500, 'still there'))]);
    assert.equal(ended, 'still there');
    assert.deepEqual(states, ['connected']);
    brief.close();
  });

  test('a handshake that is refused says why', async () => {
    const lost = connect(server.url.replace('/ws', '/nowhere'), { token: 'ann' });
    const { reason } = await event(lost, 'state', (s) => s.state === 'reconnecting');
    assert.match(reason, /^HTTP 404/);
    lost.close();

    const forged = connect(server.url, { headers: { Authorization: 'Bearer ann-forged' } });
    forged.on('error', () => {});
    await reached(forged, 'closed');
    assert.equal(forged.state.state === 'closed' && forged.state.reason, 'unauthorized');
  });
});
