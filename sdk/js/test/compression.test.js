// permessage-deflate between Node and a real server, and against servers that
// are wrong about it.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { constants, deflateRawSync } from 'node:zlib';
import { NodeWebSocket } from '../node-websocket.js';
import { connect } from '../parley.js';
import { startCable, startServer } from './real.js';

const AGREED = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';
const long = 'what was said before, '.repeat(1000);

describe('compression with a real server', { timeout: 60_000 }, () => {
  /** @type {Awaited<ReturnType<typeof startServer>>} */
  let server;
  before(async () => void (server = await startServer()));
  after(async () => assert.equal(await server?.stop(), 0));

  for (const compress of [true, false]) {
    test(compress ? 'asked for' : 'not asked for', async () => {
      const cable = await startCable(server.port);
      const ann = connect(cable.url, { token: 'ann', compress, surroundings: { process } });
      /** @type {any[]} */
      const got = [];
      /** @type {(_: any) => void} */
      let both;
      const all = new Promise((resolve) => (both = resolve));
      await ann.subscribe('public/packed', (m) => void (got.push(m.payload) === 2 && both(got))).ready;
      const { up, down } = cable.carried;
      await ann.publish('public/packed', long);
      await ann.publish('public/packed', 'short');
      await all;
      assert.deepEqual(got, [long, 'short']);
      const most = long.length / 10;
      assert.equal(cable.carried.up - up < most, compress, `${cable.carried.up - up} bytes up`);
      assert.equal(cable.carried.down - down < most, compress, `${cable.carried.down - down} bytes down`);
      ann.close();
      await cable.stop();
    });
  }

  test('what is small on the wire and too large behind it is refused, and the client goes on', async () => {
    const ann = connect(server.url, { token: 'ann', compress: true, surroundings: { process } });
    ann.on('error', () => {}); // told there as well
    await assert.rejects(ann.publish('public/packed', 'x'.repeat(1 << 20)), { code: 'too_large' });
    await ann.publish('public/packed', 'short');
    ann.close();
  });
});

/** A frame as a server sends it. @param {number} first @param {Buffer | string} payload */
function frame(first, payload) {
  const body = Buffer.from(/** @type {any} */ (payload));
  const head = body.length < 126 ? Buffer.from([first, body.length]) : Buffer.alloc(body.length < 65536 ? 4 : 10);
  head[0] = first;
  if (head.length === 4) head.writeUInt16BE(body.length, 2), (head[1] = 126);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(body.length), 2), (head[1] = 127);
  return Buffer.concat([head, body]);
}

/** @param {Buffer | string} text */
const packed = (text) => deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);

/**
 * What a NodeWebSocket makes of a server that answers with extensions and says frames.
 * @param {string} extensions @param {Buffer[]} frames
 */
async function hears(extensions, frames, compress = true) {
  const server = http.createServer();
  server.on('upgrade', (request, socket) => {
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    const answer = extensions ? `Sec-WebSocket-Extensions: ${extensions}\r\n` : '';
    socket.on('error', () => {});
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${answer}\r\n`);
    for (const f of frames) socket.write(f);
    socket.on('data', () => socket.end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const socket = new NodeWebSocket(`ws://127.0.0.1:${port}`, [], { compress });
  /** @type {string[]} */
  const texts = [];
  socket.onmessage = ({ data }) => texts.push(data);
  const end = await new Promise((resolve) => (socket.onclose = resolve));
  server.closeAllConnections();
  server.close();
  return { texts, code: end.code, reason: end.reason };
}

const goodbye = frame(0x88, Buffer.from([3, 232]));

describe('compression with servers that are wrong about it', { timeout: 60_000 }, () => {
  test('all that is allowed is read', async () => {
    const whole = packed(long);
    const streams = Buffer.concat([deflateRawSync('a stream '), deflateRawSync('and another'), Buffer.from([0])]);
    const { texts, code } = await hears(`${AGREED}; server_max_window_bits=10`, [
      frame(0xc1, whole), frame(0x81, 'plain'),
      frame(0x41, whole.subarray(0, 5)), frame(0x89, 'ping'), frame(0x00, whole.subarray(5, 9)), frame(0x80, whole.subarray(9)),
      frame(0xc1, Buffer.from([0])), frame(0xc1, streams), frame(0x81, 'plain again'), goodbye,
    ]);
    assert.deepEqual(texts, [long, 'plain', long, '', 'a stream and another', 'plain again']);
    assert.equal(code, 1000);
  });

  for (const [name, code, reason, frames] of /** @type {[string, number, RegExp, Buffer[]][]} */ ([
    ['a corrupt stream', 1007, /cannot be read/, [frame(0xc1, Buffer.from([0xff, 0xff, 0xff]))]],
    ['a stream that is cut off', 1007, /cannot be read/, [frame(0xc1, packed(long).subarray(0, 12))]],
    ['streams without end', 1007, /ends more than/, [frame(0xc1, Buffer.concat([...Array(9).fill(deflateRawSync('x')), Buffer.from([0])]))]],
    ['a bomb', 1009, /too big when decompressed/, [frame(0xc1, packed(Buffer.alloc((16 << 20) + 1, 'x')))]],
    ['text that is not UTF-8', 1007, /UTF-8/, [frame(0xc1, packed(Buffer.from([0xc3, 0x28])))]],
    ['the bit within a message', 1002, /reserved/, [frame(0x01, ''), frame(0xc0, Buffer.from([0]))]],
    ['a compressed ping', 1002, /reserved/, [frame(0xc9, '')]],
    ['another reserved bit', 1002, /reserved/, [frame(0xe1, Buffer.from([0]))]],
  ])) {
    test(`${name} ends with ${code}`, async () => {
      const end = await hears(AGREED, frames);
      assert.equal(end.code, code);
      assert.match(end.reason, reason);
      assert.deepEqual(end.texts, []);
    });
  }

  test('a message that just fits', async () => {
    const { texts, code } = await hears(AGREED, [frame(0xc1, packed(Buffer.alloc(16 << 20, 'x'))), goodbye]);
    assert.deepEqual([texts.map((t) => t.length), code], [[16 << 20], 1000]);
  });

  test('compression that was not agreed on is a reserved bit', async () => {
    for (const compress of [true, false]) {
      assert.equal((await hears('', [frame(0xc1, packed('x'))], compress)).code, 1002);
    }
  });

  for (const answer of [
    'permessage-deflate', `${AGREED}; client_max_window_bits=10`, `${AGREED}; server_max_window_bits=7`, `${AGREED}; whatever`,
    'x-webkit-deflate-frame', `${AGREED}, ${AGREED}`, `${AGREED}; server_no_context_takeover`,
  ]) {
    test(`the answer ${answer} is not to what was offered`, async () => {
      const { code, reason } = await hears(answer, []);
      assert.equal(code, 1006);
      assert.match(reason, /not offered/);
    });
  }

  test('an answer where nothing was offered', async () => {
    assert.match((await hears(AGREED, [], false)).reason, /not offered/);
  });
});
