// The list of messages of a room, a direct conversation or a post: keeps order, days, groups and
// the "new" divider, and never moves what the reader looks at.

import { all, h, one } from './dom.js';
import { t } from './i18n.js';
import { drawPending, drawRow } from './rows.js';
import { dayName, isoDay } from './times.js';

/** @typedef {import('./types.js').Message} Message */

const GROUP_WITHIN = 5 * 60_000; // as groupWithin in times.go
const NEAR = 80; // pixels from the end that still count as being there

/** @param {Element | null} row @returns {HTMLElement | null} */
function rowBefore(row) {
  let e = row?.previousElementSibling ?? null;
  while (e && !e.matches('.msg')) e = e.previousElementSibling;
  return /** @type {HTMLElement | null} */ (e);
}

/** @param {Element} row @returns {HTMLElement | null} */
function rowAfter(row) {
  let e = row.nextElementSibling;
  while (e && !e.matches('.msg')) e = e.nextElementSibling;
  return /** @type {HTMLElement | null} */ (e);
}

/** @param {HTMLElement} row */
const dayOf = (row) => isoDay(new Date(Number(row.dataset.at)));

export class Thread {
  /** @param {HTMLElement} list @param {import('./types.js').ThreadBoot} boot @param {string} me */
  constructor(list, boot, me) {
    this.list = list;
    this.kind = boot.kind;
    this.me = me;
    this.lastSeq = boot.last_seq;
    /** Chats scroll in a box of their own, comments with the page. */
    this.box = /** @type {HTMLElement | null} */ (list.closest('[data-scroll]'));
    /** @type {Map<number, HTMLElement>} */
    this.rows = new Map(all('.msg[data-seq]', list).map((row) => [Number(row.dataset.seq), row]));
    /** @type {Map<string, HTMLElement>} */
    this.pending = new Map();
    /** Is told of every row that is drawn anew. @type {(row: HTMLElement, m: Message) => void} */
    this.drawn = () => {};
  }

  get oldest() {
    return Math.min(...this.rows.keys());
  }

  get newest() {
    return Math.max(0, ...this.rows.keys());
  }

  // Where the reader is

  /** Pixels between what is seen and the end of the list. */
  fromEnd() {
    if (this.box) return Math.abs(this.box.scrollTop); // a reversed column counts from its end
    return document.documentElement.scrollHeight - innerHeight - scrollY;
  }

  atEnd() {
    return this.fromEnd() < NEAR;
  }

  toEnd() {
    if (this.box) this.box.scrollTop = 0;
    else scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' });
  }

  /** Changes the list; a reader at the end stays there, any other keeps the line they look at. @param {() => void} change */
  keepingPlace(change) {
    if (this.atEnd()) {
      change();
      this.toEnd();
      return;
    }
    const top = this.box ? this.box.getBoundingClientRect().top : 0;
    const rows = all('.msg', this.list);
    const first = rows.findIndex((row) => row.getBoundingClientRect().bottom > top);
    // Not the very first: it may change its own height when a line comes to stand above it.
    const anchor = rows[first + 1] ?? rows[first];
    const before = anchor?.getBoundingClientRect().top ?? 0;
    change();
    const moved = anchor?.isConnected ? anchor.getBoundingClientRect().top - before : 0;
    if (moved) (this.box ?? window).scrollBy({ top: moved, behavior: 'instant' });
  }

  // Messages

  /** Adds or replaces. Reports whether it was new. @param {Message} m @param {boolean} [loaded] with history.load */
  put(m, loaded = false) {
    this.lastSeq = Math.max(this.lastSeq, m.seq);
    const pending = m.key ? this.pending.get(m.key) : undefined;
    if (m.key) this.pending.delete(m.key);
    const row = drawRow(m, this.kind, loaded);
    this.drawn(row, m);
    const known = this.rows.get(m.seq);
    this.rows.set(m.seq, row);
    if (known) {
      pending?.remove();
      this.#replace(known, row);
      return false;
    }
    this.#insert(row, m.seq);
    pending?.remove();
    this.#settle(row);
    if (pending) this.#sweep();
    one('[data-empty]', this.list.parentElement ?? undefined)?.remove();
    return true;
  }

  /** @param {HTMLElement} old @param {HTMLElement} row */
  #replace(old, row) {
    const focused = old.contains(document.activeElement);
    old.replaceWith(row);
    if (focused) row.focus({ preventScroll: true });
    this.#settle(row);
  }

  /** @param {HTMLElement} row @param {number} seq */
  #insert(row, seq) {
    let after = /** @type {HTMLElement | null} */ (this.list.lastElementChild);
    while (after && !(after.matches('.msg[data-seq]') && Number(after.dataset.seq) < seq)) {
      after = /** @type {HTMLElement | null} */ (after.previousElementSibling);
    }
    const start = after ?? one('[data-start]', this.list);
    if (start) start.after(row);
    else this.list.prepend(row);
  }

  /** Forgets everything drawn: the history cannot be continued. */
  clear() {
    for (const row of this.rows.values()) row.remove();
    for (const extra of all('.divider', this.list)) extra.remove();
    this.rows.clear();
    this.#sweep();
  }

  /** @param {number} seq */
  markDeleted(seq) {
    const row = this.rows.get(seq);
    if (!row) return;
    row.classList.add('deleted');
    row.classList.remove('named');
    delete row.dataset.body;
    one('.msg-body', row)?.replaceWith(h('div', { class: 'msg-body' }, t('message.deleted')));
    one('.msg-actions', row)?.remove();
    for (const extra of all('.quote, .edited, .msg-state', row)) extra.remove();
    this.#settle(row);
  }

  // Lines under way

  /** @param {{key: string, body: string, at: number, quote: import('./types.js').Quote | null}} item */
  addPending(item) {
    const row = drawPending(item, this.kind);
    this.pending.set(item.key, row);
    this.list.append(row);
    this.#settle(row);
    one('[data-empty]', this.list.parentElement ?? undefined)?.remove();
    return row;
  }

  /** @param {string} key */
  dropPending(key) {
    this.pending.get(key)?.remove();
    this.pending.delete(key);
    this.#sweep();
  }

  // Days, groups, divider

  /** @param {HTMLElement} row */
  #settle(row) {
    this.#dress(row);
    const next = rowAfter(row);
    if (next) this.#dress(next);
  }

  /** Puts the day separator where one is due and groups the row with the one above. @param {HTMLElement} row */
  #dress(row) {
    if (this.kind !== 'chat') return;
    const above = rowBefore(row);
    /** @type {Element[]} */
    const between = [];
    for (let e = row.previousElementSibling; e && e !== above; e = e.previousElementSibling) between.push(e);
    const separator = between.find((e) => e.matches('.day'));
    const divider = between.find((e) => e.matches('.divider'));
    const newDay = !above || dayOf(above) !== dayOf(row);
    if (newDay && !separator) {
      (divider ?? row).before(h('div', { class: 'day', role: 'separator', 'data-day': dayOf(row) }, h('span', {}, dayName(new Date(Number(row.dataset.at))))));
    } else if (!newDay) separator?.remove();
    row.classList.toggle('grouped', !!above && !newDay && !divider && above.dataset.author === row.dataset.author &&
      Number(row.dataset.at) - Number(above.dataset.at) < GROUP_WITHIN && !one('.quote', row) &&
      !above.classList.contains('deleted') && !row.classList.contains('deleted'));
  }

  /** Takes away separators that no row stands under any more. */
  #sweep() {
    for (const day of all('.day', this.list)) {
      let next = day.nextElementSibling;
      while (next?.matches('.divider')) next = next.nextElementSibling;
      if (!next?.matches('.msg')) day.remove();
    }
  }

  /** The divider stays where the reader left off until they leave again. @param {number} seq of the first new message */
  divideBefore(seq) {
    const row = this.rows.get(seq);
    if (!row) return;
    const old = one('.divider', this.list);
    const next = old && rowAfter(old);
    old?.remove();
    if (next) this.#dress(next);
    row.before(h('div', { class: 'divider', role: 'separator' }, h('span', {}, t('thread.new'))));
    this.#dress(row);
  }
}
