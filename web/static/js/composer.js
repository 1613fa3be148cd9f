// The box one writes in: grows with the text, keeps a draft, knows what it answers, tells the
// others that somebody is typing.

import { boot } from './boot.js';
import { iconButton, one, shorten } from './dom.js';
import { t } from './i18n.js';
import { link } from './connection.js';
import { quote as drawQuote } from './rows.js';
import { recall, remember } from './store.js';

/** @typedef {import('./types.js').Quote} Quote */

const TYPING_EVERY = 3000;
const BLOCKED = 8000; // a page that could not connect in this time posts by its form: some networks let no socket through

export class Composer {
  /**
   * @param {HTMLFormElement} form @param {{kind: string, conversation: string}} thread
   * @param {{send: (body: string, quote: Quote | null) => void, typing: () => void, editLast: () => void}} owner
   */
  constructor(form, thread, owner) {
    this.form = form;
    this.owner = owner;
    this.chat = thread.kind === 'chat';
    this.text = /** @type {HTMLTextAreaElement} */ (one('textarea', form));
    /** @type {Quote | null} */
    this.quote = null;
    this.shelf = `draft.${boot.user?.id}.${thread.conversation}`;
    this.typedAt = 0;
    this.text.value ||= recall(this.shelf) ?? '';
    this.text.addEventListener('input', () => this.#changed());
    this.text.addEventListener('keydown', (event) => this.#pressed(event));
    form.addEventListener('submit', (event) => {
      if (!link.ever && navigator.onLine && performance.now() > BLOCKED) return remember(this.shelf, null);
      event.preventDefault();
      return this.#submit();
    });
    this.#fit();
  }

  /** @param {Quote | null} quote */
  reply(quote) {
    this.quote = quote;
    const bar = /** @type {HTMLElement} */ (one('.replying', this.form));
    bar.hidden = !quote;
    if (quote) bar.replaceChildren(drawQuote(quote), iconButton('close', t('composer.reply_cancel'), () => { this.reply(null); this.text.focus(); }));
    const field = /** @type {HTMLInputElement | null} */ (one('[name="reply_to"]', this.form));
    if (field) field.value = quote ? String(quote.seq) : '';
    if (quote) this.text.focus();
  }

  #submit() {
    const body = this.text.value.trim();
    if (!body) return;
    this.owner.send(body, this.quote && { ...this.quote, excerpt: shorten(this.quote.excerpt, 100) });
    this.text.value = '';
    this.reply(null);
    this.#changed();
    this.text.focus();
  }

  #changed() {
    this.#fit();
    remember(this.shelf, this.text.value || null);
    const now = Date.now();
    if (this.text.value && link.up && now - this.typedAt > TYPING_EVERY) {
      this.typedAt = now;
      this.owner.typing();
    }
    if (!this.text.value) this.typedAt = 0;
  }

  /** Grows where the browser does not do it by itself. */
  #fit() {
    this.form.classList.toggle('blank', !this.text.value.trim());
    if (CSS.supports('field-sizing', 'content')) return;
    this.text.rows = Math.min(12, this.text.value.split('\n').length);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    // 229: the key belongs to an input method that is still composing.
    if (event.defaultPrevented || event.isComposing || event.keyCode === 229) return;
    const touch = matchMedia('(hover: none)').matches;
    const strong = event.ctrlKey || event.metaKey;
    if (event.key === 'Enter' && (strong || (this.chat && !event.shiftKey && !touch))) {
      event.preventDefault();
      this.form.requestSubmit();
    } else if (event.key === 'ArrowUp' && !this.text.value) {
      event.preventDefault();
      this.owner.editLast();
    } else if (event.key === 'Escape' && this.quote) {
      event.stopPropagation();
      this.reply(null);
    }
  }
}
