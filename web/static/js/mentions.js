// Completes @names from the people of this conversation, then from everybody.

import { avatar, h } from './dom.js';
import { t } from './i18n.js';

/** @typedef {import('./types.js').Person} Person */

const PATTERN = /(?:^|[\s(，。])@([\p{L}\p{N}_-]{0,32})$/u;
const SHOWN = 6;

export class Mentions {
  /** @param {HTMLTextAreaElement} text @param {Person[]} members @param {(query: string) => Promise<Person[]>} find */
  constructor(text, members, find) {
    this.text = text;
    this.members = members;
    this.find = find;
    /** @type {Person[]} */
    this.shown = [];
    this.chosen = 0;
    this.list = h('div', { class: 'mentions', role: 'listbox', id: 'mentions', 'aria-label': t('aside.people'), hidden: true });
    text.parentElement?.append(this.list);
    text.setAttribute('aria-autocomplete', 'list');
    text.setAttribute('aria-controls', 'mentions');
    text.addEventListener('input', () => this.#look());
    text.addEventListener('blur', () => setTimeout(() => this.#close(), 150));
    // Before the composer's own keys: Enter chooses while the list is open.
    text.addEventListener('keydown', (event) => this.#pressed(event), { capture: true });
  }

  #query() {
    return PATTERN.exec(this.text.value.slice(0, this.text.selectionStart))?.[1];
  }

  async #look() {
    const query = this.#query();
    if (query === undefined) return this.#close();
    const low = query.toLowerCase();
    /** @param {Person} p */
    const fits = (p) => p.name.toLowerCase().startsWith(low) || p.display.toLowerCase().includes(low);
    const near = this.members.filter(fits);
    this.#show(near);
    if (!query || near.length >= SHOWN) return;
    const others = await this.find(query).catch(() => []);
    if (this.#query() === query) this.#show([...near, ...others.filter((p) => !near.some((n) => n.id === p.id))]);
  }

  /** @param {Person[]} people */
  #show(people) {
    this.shown = people.slice(0, SHOWN);
    this.chosen = 0;
    this.#draw();
  }

  #draw() {
    this.list.replaceChildren(...this.shown.map((p, i) => h('div', {
      role: 'option', id: `mention-${i}`, 'aria-selected': String(i === this.chosen),
      onpointerdown: (/** @type {Event} */ event) => { event.preventDefault(); this.#take(p); },
    }, avatar(p, 'xs'), h('b', {}, p.display), h('span', {}, `@${p.name}`))));
    this.list.hidden = this.shown.length === 0;
    if (this.list.hidden) this.text.removeAttribute('aria-activedescendant');
    else this.text.setAttribute('aria-activedescendant', `mention-${this.chosen}`);
  }

  #close() {
    if (this.shown.length) this.#show([]);
  }

  /** @param {Person} person */
  #take(person) {
    const at = this.text.selectionStart;
    const start = at - (this.#query()?.length ?? 0);
    this.text.setRangeText(`${person.name} `, start, at, 'end');
    this.#close();
    this.text.dispatchEvent(new Event('input'));
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (!this.shown.length || event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      this.chosen = (this.chosen + step + this.shown.length) % this.shown.length;
      this.#draw();
    } else if (event.key === 'Enter' || event.key === 'Tab') this.#take(this.shown[this.chosen]);
    else if (event.key === 'Escape') this.#close();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}
