// The shapes that parley.js speaks of. Only editors and `tsc` read this file.

/** A place in the history of one topic. */
export interface Position {
  /** Names one unbroken history; changes when history was lost. */
  epoch: string;
  /** Grows with every message of the topic; need not be dense. */
  seq: number;
}

export interface Message<T = any> {
  topic: string;
  /** 0 for a message that no history keeps. */
  seq: number;
  /** The seq before this one in its topic. */
  prev: number;
  id: string;
  type: string;
  /** The user who published it, as the server knows them. */
  from: string;
  /** Unix milliseconds. */
  time: number;
  payload: T;
  /** Set instead of payload when bytes were published. */
  data?: Uint8Array;
  headers?: Record<string, string>;
  epoch?: string;
  /** The group that it came through. */
  share?: string;
  /** How many members of the group had it before. */
  attempt?: number;
  /** It is the topic's last value, from before the subscription. */
  retained?: boolean;
}

export interface Member {
  user: string;
  name?: string;
  devices?: number;
  /** Unix milliseconds. */
  since?: number;
}

export interface PresenceEvent {
  change: 'joined' | 'left';
  topic: string;
  user: string;
}

/** How far somebody has got in a topic; in a larger topic, how many people have. */
export interface Receipt {
  topic: string;
  /** Absent where only numbers are told. */
  user?: string;
  /** Everything up to this seq has reached them. */
  delivered: number;
  /** And up to this one they have read. */
  read: number;
  epoch?: string;
  /** Where only numbers are told: how many people have got that far. */
  deliveredBy?: number;
  readBy?: number;
}

/** Keeps how far the work on a topic has got. */
export interface PositionStore {
  /** What was saved last; undefined when nothing was. */
  load(topic: string): Promise<Position | undefined> | Position | undefined;
  /** Called when the work on a message is done. Does nothing where the work stores the position itself. */
  save(topic: string, position: Position): unknown;
}

/** Messages were lost and cannot be had again: reload what the page shows of this topic. */
export interface Gap {
  topic: string;
  /** Where the topic is now, when the server said so. */
  position?: Position;
}

export type State =
  | { state: 'connecting' }
  | { state: 'connected'; user: string; resumed: boolean }
  | { state: 'reconnecting'; attempt: number; retryIn: number; reason: string }
  | { state: 'offline'; attempt: number; retryIn: number; reason: string }
  | { state: 'closed'; reason: string; code: number };

export interface Page<T = any> {
  topic: string;
  /** Oldest first. */
  messages: Message<T>[];
  position?: Position;
  /** There are more in the asked direction. */
  more: boolean;
}

export interface Published {
  position: Position;
  /** The key was seen before; position is that of the first. */
  duplicate: boolean;
}

/** What time means. Tests give a virtual one. */
export interface Clock {
  now(): number;
  setTimeout(run: () => void, milliseconds: number): unknown;
  clearTimeout(handle: any): void;
}

/** The part of the standard WebSocket that is used. */
export interface Socket {
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export type SocketClass = new (url: string, protocols: string[], options?: any) => Socket;

/** The part of a browser's window that is used; all of it may be missing. */
export interface Surroundings {
  WebSocket?: any;
  process?: { versions?: { node?: string } };
  location?: { href: string };
  navigator?: { onLine?: boolean };
  document?: {
    visibilityState?: string;
    addEventListener(name: string, listener: () => void): void;
    removeEventListener(name: string, listener: () => void): void;
  };
  addEventListener?(name: string, listener: () => void): void;
  removeEventListener?(name: string, listener: () => void): void;
}

export interface Options {
  /** A bearer token, or a function that fetches one; it is called again when the old one expires. */
  token?: string | (() => string | Promise<string>);
  /** A one-use ticket, or a function that fetches one for every connection. */
  ticket?: string | (() => string | Promise<string>);
  /**
   * A name for this device among those of its user. With a name, what is
   * subscribed to at QoS 1 or 2 outlives the page: the server keeps it for days,
   * and a page with the same device gets what was not acknowledged. Two pages
   * must not use one name at a time: the later closes the earlier.
   */
  device?: string;
  /** Milliseconds for which the server keeps the session after the connection; it may keep it shorter. */
  expiry?: number;
  /** Forget what an earlier page with the same device left. */
  clean?: boolean;
  /** Headers of the handshake. Only outside browsers, which do not allow it. */
  headers?: Record<string, string>;
  /** Ask the server to compress messages, which it may decline. Only for Node: browsers ask by themselves. */
  compress?: boolean;
  /** Another WebSocket implementation. */
  WebSocket?: SocketClass;
  /** How many publishes and calls may wait for an answer. 5000 when absent. */
  outbox?: number;
  /** How many bytes of them. 8 MiB when absent. */
  outboxBytes?: number;
  clock?: Clock;
  /** A number from 0 up to 1, as Math.random. */
  random?: () => number;
  /** Stands in for globalThis. */
  surroundings?: Surroundings;
}

export interface SubscribeOptions<T = any> {
  /** Begin after this position; {seq: 0} is the oldest kept. Absent: from now. */
  since?: { epoch?: string; seq: number };
  /** Be told who comes and goes. A function receives the events of this topic. */
  presence?: boolean | ((event: PresenceEvent) => void);
  /** Be told how far the others have got. A function receives the receipts of this topic. */
  receipts?: boolean | ((receipt: Receipt) => void);
  /** 1 and above acknowledge each message after its handler has returned. */
  qos?: 0 | 1 | 2;
  /** Messages of this topic were lost for good: reload. */
  onGap?: (gap: Gap) => void;
  /** How many messages an async iterator that does not keep up may have waiting. 1000 when absent. */
  buffer?: number;
}

export interface ProcessOptions<T = any> extends SubscribeOptions<T> {
  /** Where the position of the work is kept, so that each message takes effect once. */
  store?: PositionStore;
}

export interface PublishOptions {
  /** What the payload is, in the application's words. */
  type?: string;
  /** The same key from the same user is stored once. Made up when absent. */
  key?: string;
  qos?: 0 | 1 | 2;
  headers?: Record<string, string>;
  /** Keep it as the topic's last value. */
  retain?: boolean;
  /** Milliseconds after which it is worth nothing. */
  expiresIn?: number;
  /** false: everybody but me. */
  echo?: boolean;
  /** Give up waiting for the answer after so many milliseconds. Absent: wait as long as it takes. */
  timeout?: number;
  /** Sent now or not at all, and not answered: for "is typing" and the like. */
  volatile?: boolean;
}

export interface CallOptions {
  /** Milliseconds for all of it, waiting for a connection included. 10000 when absent. */
  timeout?: number;
  /** It may be done twice: send it again when the connection broke before the answer. */
  idempotent?: boolean;
}

export interface Events {
  state: State;
  message: Message;
  direct: Message;
  gap: Gap;
  joined: PresenceEvent;
  left: PresenceEvent;
  receipt: Receipt;
  /** Mostly a ParleyError. Without a listener it goes to the console. */
  error: Error & { code?: string; number?: number; retry?: string; retryAfter?: number };
}
