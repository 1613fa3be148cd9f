// The client side of RFC 6455 over node:http, for Node releases without a
// WebSocket of their own. parley.js loads it when it needs it; browsers never do.

import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'; // section 1.3
const MAX_MESSAGE = 16 << 20;
const MAX_REFUSAL = 4096; // characters of a plain HTTP answer
const CLOSE_TIMEOUT = 2000; // for the other side's close frame
const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
// permessage-deflate (RFC 7692) in which neither side keeps a context, so that
// nothing is held for a connection between its messages.
const OFFER = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';
const COMPRESSED = 0x40; // RSV1, on the first frame of a message (section 6)
const COMPRESS_FROM = 512; // bytes; what is smaller leaves in one packet either way
const TAIL = Buffer.from([0, 0, 0xff, 0xff]); // how a flush ends; not sent (section 7.2.1)
const LAST = Buffer.from([1, 0, 0, 0xff, 0xff]); // an empty block that ends a stream
const MAX_STREAMS = 8; // one message may say that it is over and go on; real senders do it once

/** An end with a close code of section 7.4.1. */
class Violation extends Error {
  /** @param {number} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The part of the standard WebSocket that Parley uses. Text messages only. */
export class NodeWebSocket {
  readyState = 0;
  protocol = '';
  /** @type {((event: any) => void) | null} */
  onopen = null;
  /** @type {((event: any) => void) | null} */
  onmessage = null;
  /** @type {((event: any) => void) | null} */
  onclose = null;
  /** @type {((event: any) => void) | null} */
  onerror = null;

  /** @type {import('node:net').Socket | null} */
  #socket = null;
  #request;
  /** @type {Buffer} */
  #buffer = Buffer.alloc(0);
  /** @type {Buffer[]} */
  #fragments = [];
  #fragmented = false;
  #compressed = false; // the message under way is
  #deflate = false; // agreed on
  #length = 0;

  /** @param {string} url @param {string[]} [protocols] @param {{headers?: Record<string, string>, compress?: boolean}} [options] */
  constructor(url, protocols = [], { headers = {}, compress = false } = {}) {
    const key = randomBytes(16).toString('base64');
    const target = new URL(url);
    const { request } = target.protocol === 'wss:' ? https : http;
    target.protocol = target.protocol.replace('ws', 'http');
    this.#request = request(target, {
      agent: false,
      headers: {
        ...headers,
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': key,
        ...(compress ? { 'Sec-WebSocket-Extensions': OFFER } : {}),
        ...(protocols.length ? { 'Sec-WebSocket-Protocol': protocols.join(', ') } : {}),
      },
    });
    this.#request.on('upgrade', (response, socket, head) => this.#upgraded({ key, protocols, compress }, response, socket, head));
    this.#request.on('response', (response) => this.#refused(response));
    this.#request.on('error', (error) => this.#ended(1006, error.message));
    this.#request.end();
  }

  /** @param {string} text */
  send(text) {
    if (this.readyState !== 1) return;
    const body = Buffer.from(text);
    const packed = this.#deflate && body.length >= COMPRESS_FROM ? deflate(body) : body;
    if (packed.length < body.length) this.#write(TEXT | COMPRESSED, packed);
    else this.#write(TEXT, body);
  }

  /** @param {number} [code] @param {string} [reason] */
  close(code = 1000, reason = '') {
    if (this.readyState >= 2) return;
    if (!this.#socket) {
      this.#request.destroy();
      return this.#ended(1006, 'closed before it was open');
    }
    this.readyState = 2;
    const body = Buffer.concat([Buffer.alloc(2), Buffer.from(reason)]);
    body.writeUInt16BE(code);
    this.#write(CLOSE, body);
    setTimeout(() => this.#ended(1006, 'the other side did not close'), CLOSE_TIMEOUT).unref();
  }

  /**
   * @param {{key: string, protocols: string[], compress: boolean}} asked @param {http.IncomingMessage} response
   * @param {import('node:stream').Duplex} socket @param {Buffer} head
   */
  #upgraded({ key, protocols, compress }, response, socket, head) {
    this.#socket = /** @type {import('node:net').Socket} */ (socket);
    const accept = createHash('sha1').update(key + GUID).digest('base64');
    const protocol = response.headers['sec-websocket-protocol'] ?? '';
    if (response.headers['sec-websocket-accept'] !== accept || (protocol && !protocols.includes(protocol))) {
      return this.#ended(1006, 'the server does not speak WebSocket');
    }
    const extensions = response.headers['sec-websocket-extensions'];
    if (extensions && !(compress && isAgreed(extensions))) {
      return this.#ended(1006, `the server answered with extensions that were not offered: ${extensions}`);
    }
    this.#deflate = Boolean(extensions);
    this.protocol = protocol;
    this.#socket.setNoDelay(true);
    this.#socket.on('data', (chunk) => this.#read(chunk));
    this.#socket.on('error', (error) => this.#ended(1006, error.message));
    this.#socket.on('close', () => this.#ended(1006, 'the connection broke'));
    this.readyState = 1;
    this.onopen?.({ type: 'open' });
    return this.#read(head);
  }

  /** The server answered with plain HTTP: what it says is the best reason. @param {http.IncomingMessage} response */
  #refused(response) {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (chunk) => (text = (text + chunk).slice(0, MAX_REFUSAL)));
    response.on('close', () => this.#ended(1006, `HTTP ${response.statusCode}: ${text.trim()}`, parleyError(text)));
  }

  /** @param {Buffer} chunk */
  #read(chunk) {
    this.#buffer = this.#buffer.length ? Buffer.concat([this.#buffer, chunk]) : chunk;
    try {
      while (this.readyState !== 3 && this.#frame());
    } catch (error) {
      const { code = 1006, message } = /** @type {Violation} */ (error);
      this.close(code, message);
      this.#ended(code, message);
    }
  }

  /** Takes one frame off the buffer (section 5.2); false when it is not all there. */
  #frame() {
    const buffer = this.#buffer;
    if (buffer.length < 2) return false;
    const [first, second] = buffer;
    if (second & 0x80) throw new Violation(1002, 'a server must not mask');
    const opcode = first & 0x0f;
    const mayCompress = this.#deflate && (opcode === TEXT || opcode === BINARY);
    if (first & (mayCompress ? 0x30 : 0x70)) throw new Violation(1002, 'reserved bits are set');
    let length = second & 0x7f;
    let offset = 2;
    if (opcode >= CLOSE && (length > 125 || !(first & 0x80))) throw new Violation(1002, 'bad control frame');
    if (length === 126) {
      if (buffer.length < 4) return false;
      length = buffer.readUInt16BE(2);
      offset = 4;
    } else if (length === 127) {
      if (buffer.length < 10) return false;
      length = Number(buffer.readBigUInt64BE(2));
      offset = 10;
    }
    if (this.#length + length > MAX_MESSAGE) throw new Violation(1009, 'the message is too big');
    if (buffer.length < offset + length) return false;
    this.#buffer = buffer.subarray(offset + length);
    this.#handle(opcode, first, buffer.subarray(offset, offset + length));
    return true;
  }

  /** @param {number} opcode @param {number} first @param {Buffer} body */
  #handle(opcode, first, body) {
    if (opcode === PING) return this.#write(PONG, body);
    if (opcode === PONG) return undefined;
    if (opcode === CLOSE) return this.#closed(body);
    if (opcode === BINARY) throw new Violation(1003, 'only text is understood');
    if (opcode !== (this.#fragmented ? CONTINUATION : TEXT)) throw new Violation(1002, 'unexpected frame');
    if (!this.#fragmented) this.#compressed = (first & COMPRESSED) !== 0;
    this.#fragments.push(body);
    this.#length += body.length;
    this.#fragmented = (first & 0x80) === 0;
    if (this.#fragmented) return undefined;
    const bytes = this.#fragments.length === 1 ? body : Buffer.concat(this.#fragments);
    this.#fragments = [];
    this.#length = 0;
    return this.onmessage?.({ type: 'message', data: decode(this.#compressed ? inflate(bytes) : bytes) });
  }

  /** @param {Buffer} body */
  #closed(body) {
    if (body.length === 1) throw new Violation(1002, 'half a close code');
    const code = body.length ? body.readUInt16BE(0) : 1005;
    if (this.readyState === 1) this.#write(CLOSE, body);
    this.#socket?.end();
    this.#ended(code, decode(body.subarray(2)));
  }

  /** @param {number} first opcode and reserved bits @param {Buffer} body */
  #write(first, body) {
    const mask = randomBytes(4);
    const { length } = body;
    const head = Buffer.alloc(length < 126 ? 2 : length < 65536 ? 4 : 10);
    head[0] = 0x80 | first;
    head[1] = 0x80 | (length < 126 ? length : length < 65536 ? 126 : 127);
    if (head.length === 4) head.writeUInt16BE(length, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
    const masked = Buffer.alloc(length);
    for (let i = 0; i < length; i++) masked[i] = body[i] ^ mask[i & 3];
    this.#socket?.write(Buffer.concat([head, mask, masked]));
  }

  /** Once. @param {number} code @param {string} reason @param {object} [refusal] */
  #ended(code, reason, refusal) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#socket?.destroySoon();
    this.onclose?.({ type: 'close', code, reason, refusal });
  }
}

/** The error in the body of an answer, if it is one of Parley's. @param {string} text */
function parleyError(text) {
  try {
    const { error } = JSON.parse(text);
    return typeof error?.code === 'string' ? error : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether an answer fits OFFER: it promises that the server keeps no context
 * and limits nothing of ours. @param {string} answer
 */
function isAgreed(answer) {
  const [name, ...parameters] = answer.split(';').map((part) => part.trim());
  const known = /^(server_no_context_takeover|client_no_context_takeover|server_max_window_bits="?([89]|1[0-5])"?)$/;
  const names = new Set(parameters.map((parameter) => parameter.split('=')[0]));
  return name === 'permessage-deflate' && names.has('server_no_context_takeover') &&
    names.size === parameters.length && parameters.every((parameter) => known.test(parameter));
}

/** @param {Buffer} body */
function deflate(body) {
  const packed = deflateRawSync(body, { finishFlush: constants.Z_SYNC_FLUSH });
  return packed.subarray(0, packed.length - TAIL.length);
}

/** @param {Buffer} packed */
function inflate(packed) {
  let rest = Buffer.concat([packed, TAIL, LAST]);
  const parts = [];
  let room = MAX_MESSAGE;
  try {
    for (let streams = 0; rest.length > 0; streams++) {
      if (streams === MAX_STREAMS) throw new Error(`it ends more than ${MAX_STREAMS} times`);
      const { buffer, engine } = /** @type {any} */ (inflateRawSync(rest, { maxOutputLength: Math.max(room, 1), info: true }));
      parts.push(buffer);
      room -= buffer.length;
      rest = rest.subarray(engine.bytesWritten);
    }
  } catch (error) {
    const { code, message } = /** @type {Error & {code?: string}} */ (error);
    if (code === 'ERR_BUFFER_TOO_LARGE') throw new Violation(1009, 'the message is too big when decompressed');
    throw new Violation(1007, `a compressed message cannot be read: ${message}`);
  }
  if (room < 0) throw new Violation(1009, 'the message is too big when decompressed');
  return parts.length === 1 ? parts[0] : Buffer.concat(parts);
}

/** @param {Buffer} bytes */
function decode(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Violation(1007, 'text that is not UTF-8');
  }
}
