// What the reader sends: drawn at once, sent in order, kept until the server has it. The key is
// made here, so that a line sent twice is stored once.

import { boot } from './boot.js';
import { h, icon } from './dom.js';
import { t } from './i18n.js';
import { link } from './connection.js';
import { recall, remember } from './store.js';
import { reasonOf } from './toast.js';

/** @typedef {import('./types.js').Quote} Quote */
/** @typedef {{key: string, body: string, at: number, quote: Quote | null, failed?: string}} Item */

const PATIENCE = 24 * 3600_000; // how long a line waits for the network before it counts as failed
const LONGEST_WAIT = 20_000; // a busy server is asked again by itself within this time
const SLOW = 400; // a quicker answer needs no clock

/** How long the server asked to wait, 0 when trying again is of no use or takes too long. @param {any} error */
const waitFor = (error) => (error?.retry === 'later' && error.retryAfter <= LONGEST_WAIT ? error.retryAfter : 0);

export class Outbox {
  /**
   * @param {import('./types.js').Live} live @param {string} conversation @param {import('./thread.js').Thread} thread
   * @param {(message: import('./types.js').Message) => void} stored is told what the server made of a line
   */
  constructor(live, conversation, thread, stored) {
    this.live = live;
    this.conversation = conversation;
    this.thread = thread;
    this.stored = stored;
    this.shelf = `outbox.${boot.user?.id}.${conversation}`;
    /** @type {Item[]} */
    this.items = recall(this.shelf) ?? [];
    this.turn = Promise.resolve();
    for (const item of this.items) {
      this.thread.addPending(item);
      if (item.failed) this.#drawFailed(item);
      else this.#enqueue(item);
    }
    document.addEventListener('parley:link', () => {
      for (const item of this.items) if (!item.failed) this.#state(item, 'clock', link.up ? 'message.sending' : 'message.waiting');
    });
  }

  /** @param {string} body @param {Quote | null} quote */
  send(body, quote) {
    /** @type {Item} */
    const item = { key: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, body, at: Date.now(), quote };
    this.items.push(item);
    this.#save();
    this.thread.addPending(item);
    this.thread.toEnd();
    this.#enqueue(item);
  }

  /** One after the other: two calls under way could be stored in the wrong order. @param {Item} item */
  #enqueue(item) {
    const clock = setTimeout(() => this.#state(item, 'clock', link.up ? 'message.sending' : 'message.waiting'), link.up ? SLOW : 0);
    this.turn = this.turn.then(() => this.#deliver(item)).finally(() => clearTimeout(clock));
  }

  /** @param {Item} item @param {number} [again] how often "later" is still taken for an answer @returns {Promise<void>} */
  async #deliver(item, again = 3) {
    try {
      const message = await this.live.call('message.send',
        { conversation: this.conversation, key: item.key, body: item.body, reply_to: item.quote?.seq ?? 0 },
        { timeout: PATIENCE, idempotent: true });
      this.#drop(item);
      this.stored({ ...message, key: item.key });
    } catch (error) {
      const wait = waitFor(error);
      if (again && wait) {
        await new Promise((done) => setTimeout(done, wait));
        return this.#deliver(item, again - 1);
      }
      item.failed = reasonOf(error);
      this.#save();
      this.#drawFailed(item);
    }
  }

  /** @param {Item} item @param {string} glyph @param {string} words */
  #state(item, glyph, words) {
    this.thread.pending.get(item.key)?.querySelector('.msg-state')
      ?.replaceChildren(icon(glyph), h('span', { class: 'sr' }, t(words)));
  }

  /** @param {Item} item */
  #drawFailed(item) {
    const row = this.thread.pending.get(item.key);
    row?.classList.replace('sending', 'failed');
    row?.querySelector('.msg-state')?.replaceChildren(icon('alert'), `${t('message.failed')}: ${item.failed} `,
      h('button', { type: 'button', onclick: () => this.#retry(item) }, t('message.retry')),
      h('button', { type: 'button', onclick: () => { this.#drop(item); this.thread.dropPending(item.key); } }, t('message.discard')));
  }

  /** @param {Item} item */
  #retry(item) {
    delete item.failed;
    this.#save();
    const row = this.thread.pending.get(item.key);
    row?.classList.replace('failed', 'sending');
    row?.querySelector('.msg-state')?.replaceChildren();
    this.#enqueue(item);
  }

  /** @param {Item} item */
  #drop(item) {
    this.items = this.items.filter((i) => i !== item);
    this.#save();
  }

  #save() {
    remember(this.shelf, this.items.length ? this.items : null);
  }
}
