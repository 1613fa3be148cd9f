// Reply, edit and delete, by the buttons of a row.

import { boot } from './boot.js';
import { all, h, one, shorten } from './dom.js';
import { t } from './i18n.js';
import { confirm, toastError } from './toast.js';

/** @typedef {import('./types.js').Live} Live */

/** What a reply to this row quotes. @param {HTMLElement} row @returns {import('./types.js').Quote} */
function quoteOf(row) {
  const name = one('.msg-author', row)?.textContent ?? '';
  const text = one('.msg-body', row)?.textContent?.trim().replace(/\s+/g, ' ') ?? '';
  return {
    seq: Number(row.dataset.seq), excerpt: shorten(text, 100),
    author: { id: row.dataset.author ?? '', name, display: name, role: 'member', online: false, hue: 0, initials: '' },
  };
}

export class Actions {
  /**
   * @param {Live} live @param {string} conversation @param {import('./thread.js').Thread} thread
   * @param {(quote: import('./types.js').Quote) => void} reply
   */
  constructor(live, conversation, thread, reply) {
    this.live = live;
    this.conversation = conversation;
    this.thread = thread;
    this.reply = reply;
    for (const hidden of all('[data-action="reply"]', thread.list)) hidden.hidden = false;
    thread.list.addEventListener('click', (event) => this.#clicked(event));
  }

  /** @param {Event} event */
  #clicked(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const row = /** @type {HTMLElement | null} */ (target.closest('.msg[data-seq]'));
    const action = /** @type {HTMLElement | null} */ (target.closest('[data-action]'))?.dataset.action;
    if (!row || !action) return;
    event.preventDefault();
    if (action === 'reply') this.reply(quoteOf(row));
    if (action === 'edit') this.edit(row);
    if (action === 'delete') this.#remove(row);
  }

  /** The reader's newest message, for the arrow key. */
  editLast() {
    const own = all(`.msg.own[data-seq]:not(.deleted)[data-author="${CSS.escape(boot.user?.id ?? '')}"]`, this.thread.list);
    const last = own.at(-1);
    if (last) this.edit(last);
  }

  /** @param {HTMLElement} row */
  edit(row) {
    const body = one('.msg-body', row);
    if (!body || row.dataset.body === undefined || one('.edit-box', row)) return;
    const text = h('textarea', { rows: '2', 'aria-label': t('message.edit_title') });
    text.value = row.dataset.body;
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    const close = () => { box.remove(); body.hidden = false; (before?.isConnected ? before : row).focus({ preventScroll: true }); };
    const save = async () => {
      const value = text.value.trim();
      if (!value || value === row.dataset.body) return close();
      try {
        const message = await this.live.call('message.edit', { conversation: this.conversation, seq: Number(row.dataset.seq), body: value }, { idempotent: true });
        close();
        this.thread.keepingPlace(() => this.thread.put(message));
      } catch (error) {
        toastError(error);
      }
    };
    const box = h('div', { class: 'edit-box' }, text, h('div', { class: 'row' },
      h('button', { class: 'btn small primary', type: 'button', onclick: save }, t('save')),
      h('button', { class: 'btn small', type: 'button', onclick: close }, t('cancel')), h('span', { class: 'hide-phone' }, t('message.edit_hint'))));
    text.addEventListener('keydown', (event) => {
      if (event.isComposing) return;
      if (event.key === 'Escape') { event.stopPropagation(); close(); }
      if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); save(); }
    });
    this.thread.keepingPlace(() => { body.hidden = true; body.after(box); });
    text.focus();
    row.scrollIntoView({ block: 'nearest' });
  }

  /** @param {HTMLElement} row */
  async #remove(row) {
    if (!await confirm(t('message.delete_confirm'), t('message.delete'))) return;
    const seq = Number(row.dataset.seq);
    try {
      await this.live.call('message.delete', { conversation: this.conversation, seq }, { idempotent: true });
      this.thread.keepingPlace(() => this.thread.markDeleted(seq));
    } catch (error) {
      toastError(error);
    }
  }
}
