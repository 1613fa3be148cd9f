// "Mei is typing…", for five seconds after the last sign of it.

import { h } from './dom.js';
import { t } from './i18n.js';

/** @typedef {import('./types.js').Person} Person */

const FADES = 5000;

export class Typing {
  /** @param {HTMLElement} line */
  constructor(line) {
    this.line = line;
    /** @type {Map<string, {name: string, timer: number}>} */
    this.people = new Map();
  }

  /** @param {Person} person */
  add(person) {
    clearTimeout(this.people.get(person.id)?.timer);
    this.people.set(person.id, { name: person.display, timer: setTimeout(() => this.remove(person.id), FADES) });
    this.#draw();
  }

  /** @param {string} id */
  remove(id) {
    clearTimeout(this.people.get(id)?.timer);
    if (this.people.delete(id)) this.#draw();
  }

  #draw() {
    const names = [...this.people.values()].map((p) => p.name);
    const words = [null, 'typing.one', 'typing.two'][names.length] ?? 'typing.many';
    if (names.length) this.line.replaceChildren(h('span', { class: 'dots' }, h('i'), h('i'), h('i')), t(words, { a: names[0], b: names[1] ?? '' }));
    else this.line.replaceChildren();
  }
}
