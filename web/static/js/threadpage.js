// Puts a live thread together: rooms, direct conversations and the comments of a post.

import { boot } from './boot.js';
import { all, h, one } from './dom.js';
import { t } from './i18n.js';
import { Actions } from './actions.js';
import { setInbox, setUnread } from './badges.js';
import { Composer } from './composer.js';
import { Mentions } from './mentions.js';
import { Outbox } from './outbox.js';
import { Pill } from './pill.js';
import { Reading } from './reading.js';
import { Receipts } from './receipts.js';
import { Thread } from './thread.js';
import { toastError } from './toast.js';
import { Typing } from './typing.js';

/** @typedef {import('./types.js').Live} Live */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').ThreadBoot} ThreadBoot */

const PAGE = 50;
const FAR = 20; // pages of older messages a link may ask for

class ThreadPage {
  /** @param {Live} live @param {ThreadBoot} start @param {HTMLElement} list */
  constructor(live, start, list) {
    this.live = live;
    this.id = start.conversation;
    this.more = start.more;
    this.loading = false;
    this.me = boot.user?.id ?? '';
    this.thread = new Thread(list, start, this.me);
    this.receipts = new Receipts(live, start, this.thread, this.me);
    this.thread.drawn = (row, m) => this.receipts.drawn(row, m);
    this.typing = new Typing(/** @type {HTMLElement} */ (one('[data-typing]') ?? h('div')));
    /** @type {HTMLElement | null} */
    this.firstNew = null;
    this.pill = new Pill('thread', start.kind === 'chat' ? 'n.new_messages' : 'n.new_comments', 'down', () => this.#follow());
    this.reading = new Reading(this.thread.box, start.read_seq, (seq) => this.#markRead(seq));
    for (const row of this.thread.rows.values()) this.reading.watch(row);
    if (start.read_seq >= start.last_seq) this.reading.owe(start.last_seq);
    this.#write(start);
    this.#subscribe(start);
    this.#scrolling();
    // A page of older messages, reached without scripts or by its address, is not where live ones go on.
    if (this.thread.rows.size && this.thread.newest < start.last_seq) this.#reload();
  }

  // Writing

  /** @param {ThreadBoot} start */
  #write(start) {
    const form = /** @type {HTMLFormElement | null} */ (one('[data-composer]'));
    if (!form) return;
    const outbox = new Outbox(this.live, this.id, this.thread, (m) => {
      this.#created(m);
      this.receipts.sent(m.seq);
    });
    const composer = new Composer(form, { kind: start.kind, conversation: this.id }, {
      send: (body, quote) => outbox.send(body, quote),
      typing: () => this.live.call('typing', { conversation: this.id }, { timeout: 3000 }).catch(() => {}),
      editLast: () => actions.editLast(),
    });
    const actions = new Actions(this.live, this.id, this.thread, (quote) => composer.reply(quote));
    new Mentions(composer.text, (start.members ?? []).filter((p) => p.id !== this.me),
      async (query) => (await this.live.call('people.find', { query }, { idempotent: true })).people ?? []);
    if (start.kind === 'chat' && matchMedia('(hover: hover)').matches) composer.text.focus({ preventScroll: true });
  }

  // Listening

  /** @param {ThreadBoot} start */
  #subscribe(start) {
    const topic = `community/c/${this.id}`;
    this.live.subscribe(topic, (m) => {
      if (m.type === 'message.created') this.receipts.place(m.payload.seq, { epoch: m.epoch ?? '', seq: m.seq });
      this.#took(m.type, m.payload);
    }, {
      since: start.position.epoch ? start.position : undefined, ...this.receipts.options(),
      onGap: (gap) => {
        this.receipts.anew(gap.position);
        this.#reload();
      },
    });
    this.live.subscribe(`${topic}/typing`, (m) => { if (m.payload.user.id !== this.me) this.typing.add(m.payload.user); });
    this.live.on('direct', (m) => {
      if (m.type === 'read.changed' && m.payload.conversation === this.id) {
        this.reading.moveTo(m.payload.seq);
        setUnread(this.id, Math.max(0, this.thread.lastSeq - this.reading.seq));
      }
    });
  }

  /** @param {string} type @param {any} payload */
  #took(type, payload) {
    if (type === 'message.created') this.#created(payload);
    if (type === 'message.edited' && this.thread.rows.has(payload.seq)) this.#edited(payload);
    if (type === 'message.deleted') this.thread.keepingPlace(() => this.thread.markDeleted(payload.seq));
  }

  /** @param {Message} m */
  #edited(m) {
    this.thread.keepingPlace(() => this.thread.put(m));
    const row = this.thread.rows.get(m.seq);
    if (row) this.reading.watch(row);
  }

  /** @param {Message} m */
  #created(m) {
    const own = m.author.id === this.me;
    const there = this.thread.atEnd();
    const readAll = this.reading.seq >= this.thread.lastSeq;
    let fresh = false;
    this.thread.keepingPlace(() => {
      fresh = this.thread.put(m);
      if (fresh && !own && readAll && !document.hasFocus()) this.thread.divideBefore(m.seq);
    });
    const row = this.thread.rows.get(m.seq);
    this.typing.remove(m.author.id);
    if (!row || !fresh) return;
    this.#count(1);
    if (own) {
      this.receipts.read(m.seq);
      return this.reading.moveTo(m.seq);
    }
    this.reading.watch(row);
    if (!there) {
      this.firstNew ??= row;
      this.pill.add();
    }
    if (!document.hasFocus() || !there) setUnread(this.id, Math.max(0, this.thread.lastSeq - this.reading.seq));
  }

  /** The number above the comments. @param {number} more */
  #count(more) {
    const title = one('[data-comments-title]');
    if (!title) return;
    title.dataset.n = String(Number(title.dataset.n) + more);
    title.textContent = t('n.comments', { n: title.dataset.n });
  }

  /** @param {number} seq */
  async #markRead(seq) {
    this.receipts.read(seq);
    try {
      const answer = await this.live.call('read.mark', { conversation: this.id, seq }, { idempotent: true, timeout: 60_000 });
      setUnread(this.id, Math.max(0, this.thread.lastSeq - answer.seq));
      setInbox(answer.unread);
    } catch {
      // Not worth a word: the next row that is read moves the cursor too.
    }
  }

  // Scrolling and history

  #follow() {
    const row = this.firstNew;
    this.firstNew = null;
    if (row?.isConnected) row.scrollIntoView({ block: this.thread.box ? 'start' : 'center', behavior: 'smooth' });
    else this.thread.toEnd();
  }

  #scrolling() {
    (this.thread.box ?? window).addEventListener('scroll', () => {
      if (!this.thread.atEnd() || !this.pill.count) return;
      this.pill.clear();
      this.firstNew = null;
    }, { passive: true });
    this.thread.list.addEventListener('click', (event) => {
      const quote = /** @type {HTMLElement} */ (event.target).closest('a.quote');
      if (!quote) return;
      event.preventDefault();
      this.#reach(Number(quote.getAttribute('href')?.slice(2)));
    });
    const linked = /^#c(\d+)$/.exec(location.hash);
    if (linked) this.#reach(Number(linked[1]));
    const older = one('[data-older]');
    if (!older) return;
    older.addEventListener('click', (event) => { event.preventDefault(); this.#older(); });
    if (this.thread.box) {
      new IntersectionObserver((entries) => { if (entries.some((e) => e.isIntersecting)) this.#older(); },
        { root: this.thread.box, rootMargin: '400px 0px 0px' }).observe(older);
    }
    const divider = one('.divider', this.thread.list);
    if (divider && !linked && this.thread.box && divider.getBoundingClientRect().top < this.thread.box.getBoundingClientRect().top) divider.scrollIntoView({ block: 'start' });
  }

  /** Shows a message, however old: what a quote or a link names. @param {number} seq */
  async #reach(seq) {
    for (let page = 0; page < FAR && this.more && seq < this.thread.oldest; page += 1) await this.#older();
    const row = this.thread.rows.get(seq);
    if (!row) return;
    row.scrollIntoView({ block: 'center' });
    row.focus({ preventScroll: true });
    row.classList.remove('fresh');
    requestAnimationFrame(() => row.classList.add('fresh'));
  }

  async #older() {
    const place = one('[data-older]');
    if (this.loading || !this.more || !place) return;
    this.loading = true;
    const button = place.firstElementChild;
    const list = this.thread.list;
    list.setAttribute('aria-busy', 'true');
    place.replaceChildren(h('i', { class: 'spin', role: 'img', 'aria-label': t('thread.loading') }));
    try {
      const page = await this.live.call('history.load', { conversation: this.id, before: this.thread.oldest, limit: PAGE }, { idempotent: true });
      this.more = page.more;
      this.thread.keepingPlace(() => {
        for (const m of page.messages ?? []) this.thread.put(m, true);
        if (!page.more) place.remove();
        for (const begin of all('[data-start]', list)) begin.hidden = page.more;
      });
    } catch (error) {
      toastError(error);
    }
    if (button) place.replaceChildren(button);
    list.removeAttribute('aria-busy');
    this.loading = false;
  }

  /** The socket cannot continue where it was: take the newest page again. */
  async #reload() {
    const page = await this.live.call('history.load', { conversation: this.id, before: 0, limit: PAGE }, { idempotent: true }).catch(() => null);
    const messages = /** @type {Message[]} */ (page?.messages ?? []);
    if (!messages.length) return;
    this.thread.keepingPlace(() => {
      if (messages[0].seq > this.thread.newest + 1) {
        this.thread.clear();
        this.more = page.more;
      }
      for (const m of messages) this.thread.put(m, true);
    });
    for (const row of this.thread.rows.values()) this.reading.watch(row);
  }
}

/** @param {Live} live @param {ThreadBoot} start */
export function startThread(live, start) {
  const list = one('[data-thread]');
  if (list) new ThreadPage(live, start, list);
}
