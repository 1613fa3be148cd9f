// The client side of RFC 6455 over node:http, for Node releases without a
// WebSocket of their own. parley.js loads it when it needs it; browsers never do.

import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';

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
  #length = 0;

  /** @param {string} url @param {string[]} [protocols] @param {{headers?: Record<string, string>}} [options] */
  constructor(url, protocols = [], { headers = {} } = {}) {
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
        ...(protocols.length ? { 'Sec-WebSocket-Protocol': protocols.join(', ') } : {}),
      },
    });
    this.#request.on('upgrade', (response, socket, head) => this.#upgraded(key, protocols, response, socket, head));
    this.#request.on('response', (response) => this.#refused(response));
    this.#request.on('error', (error) => this.#ended(1006, error.message));
    this.#request.end();
  }

  /** @param {string} text */
  send(text) {
    if (this.readyState === 1) this.#write(TEXT, Buffer.from(text));
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
   * @param {string} key @param {string[]} protocols @param {http.IncomingMessage} response
   * @param {import('node:stream').Duplex} socket @param {Buffer} head
   */
  #upgraded(key, protocols, response, socket, head) {
    this.#socket = /** @type {import('node:net').Socket} */ (socket);
    const accept = createHash('sha1').update(key + GUID).digest('base64');
    const protocol = response.headers['sec-websocket-protocol'] ?? '';
    if (response.headers['sec-websocket-accept'] !== accept || (protocol && !protocols.includes(protocol))) {
      return this.#ended(1006, 'the server does not speak WebSocket');
    }
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
    if (first & 0x70) throw new Violation(1002, 'reserved bits are set');
    if (second & 0x80) throw new Violation(1002, 'a server must not mask');
    const opcode = first & 0x0f;
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
    this.#handle(opcode, (first & 0x80) !== 0, buffer.subarray(offset, offset + length));
    return true;
  }

  /** @param {number} opcode @param {boolean} last @param {Buffer} body */
  #handle(opcode, last, body) {
    if (opcode === PING) return this.#write(PONG, body);
    if (opcode === PONG) return undefined;
    if (opcode === CLOSE) return this.#closed(body);
    if (opcode === BINARY) throw new Violation(1003, 'only text is understood');
    if (opcode !== (this.#fragmented ? CONTINUATION : TEXT)) throw new Violation(1002, 'unexpected frame');
    this.#fragments.push(body);
    this.#length += body.length;
    this.#fragmented = !last;
    if (!last) return undefined;
    const bytes = this.#fragments.length === 1 ? body : Buffer.concat(this.#fragments);
    this.#fragments = [];
    this.#length = 0;
    return this.onmessage?.({ type: 'message', data: decode(bytes) });
  }

  /** @param {Buffer} body */
  #closed(body) {
    if (body.length === 1) throw new Violation(1002, 'half a close code');
    const code = body.length ? body.readUInt16BE(0) : 1005;
    if (this.readyState === 1) this.#write(CLOSE, body);
    this.#socket?.end();
    this.#ended(code, decode(body.subarray(2)));
  }

  /** @param {number} opcode @param {Buffer} body */
  #write(opcode, body) {
    const mask = randomBytes(4);
    const { length } = body;
    const head = Buffer.alloc(length < 126 ? 2 : length < 65536 ? 4 : 10);
    head[0] = 0x80 | opcode;
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

/** @param {Buffer} bytes */
function decode(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Violation(1007, 'text that is not UTF-8');
  }
}
