// "3 new": said beside what the reader looks at instead of moving it.

import { h, icon, one } from './dom.js';
import { t } from './i18n.js';

export class Pill {
  /** @param {string} place @param {string} words a catalogue key with {n} @param {'up' | 'down'} arrow @param {() => void} follow */
  constructor(place, words, arrow, follow) {
    this.place = one(`[data-pill="${place}"]`);
    this.words = words;
    this.arrow = arrow;
    this.follow = follow;
    this.count = 0;
  }

  add() {
    this.count += 1;
    this.place?.replaceChildren(h('button', { class: 'pill', type: 'button', onclick: () => { this.clear(); this.follow(); } },
      icon(this.arrow), t(this.words, { n: this.count })));
  }

  clear() {
    this.count = 0;
    this.place?.replaceChildren();
  }
}
