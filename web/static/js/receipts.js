// How far the others have got: a tick for what was sent, two for what has reached somebody, filled
// ones for what was read. The page brings what the database knows, in messages; from then on the
// topic's receipts tell, in positions of the topic. web/receipts.go draws the same.

import { h, icon, one } from './dom.js';
import { t } from './i18n.js';

/** @typedef {import('./types.js').Position} Position */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Reader & {at?: import('./types.js').Reach}} Person `at` is in the topic */
/** @typedef {import('/sdk/types.d.ts').Receipt} Receipt */

const NAMED = 5; // as mostReaders in receipts.go

export class Receipts {
  /**
   * @param {import('./types.js').Live} live @param {import('./types.js').ThreadBoot} start
   * @param {import('./thread.js').Thread} thread @param {string} me
   */
  constructor(live, start, thread, me) {
    this.live = live;
    this.topic = `community/c/${start.conversation}`;
    this.thread = thread;
    this.me = me;
    this.told = start.receipts.told;
    this.on = start.receipts.live && !!me;
    /** @type {Map<string, Person>} */
    this.people = new Map((start.receipts.people ?? []).map((p) => [p.id, { ...p }]));
    /** How many have got a message of mine, where that is told in numbers. @type {Map<number, import('./types.js').Reach>} */
    this.reach = new Map(Object.entries(start.reach).map(([seq, reach]) => [Number(seq), reach]));
    /** Where messages stand in the topic. @type {Map<number, number>} */
    this.places = new Map();
    this.epoch = start.position.epoch;
    this.newest = 0; // line of mine, where only that one says that it was sent
    // A row without a place was being published when the page was drawn, at the page's position or soon behind it.
    for (const seq of thread.rows.keys()) this.places.set(seq, start.position.seq);
    for (const [seq, place] of start.places) this.places.set(seq, place);
    if (this.on) live.on('state', ({ state }) => { if (state === 'connected') this.#ask(); });
  }

  /** What a subscription to the topic takes part with. @returns {import('/sdk/types.d.ts').SubscribeOptions} */
  options() {
    return this.on ? { qos: 1, receipts: (r) => this.#take([r]) } : {};
  }

  /** Those that came while nobody was connected. */
  #ask() {
    this.live.receipts(this.topic).then((all) => this.#take(all), () => {}); // what comes live says it as well, later
  }

  // Where things stand

  /** A message was published. @param {number} seq @param {Position} at */
  place(seq, at) {
    this.#begin(at.epoch);
    this.#put(seq, at.seq);
  }

  /** @param {number} seq @param {number} place */
  #put(seq, place) {
    this.places.set(seq, place);
    for (const p of this.people.values()) this.#follow(p, seq, place);
  }

  /** Another epoch of the topic: what was there before stands before all of it. @param {string} epoch */
  #begin(epoch) {
    if (!epoch || epoch === this.epoch) return;
    this.epoch = epoch;
    for (const seq of this.places.keys()) this.places.set(seq, 0);
    for (const p of this.people.values()) p.at = undefined;
  }

  /** The topic's history was lost: rows that are loaded now may stand in a new epoch. @param {Position | undefined} at */
  anew(at) {
    if (at) this.#begin(at.epoch);
    if (this.on) this.#ask();
  }

  /** The reader has read up to a message. @param {number} seq */
  read(seq) {
    if (!this.on) return;
    let place = 0;
    for (const [other, at] of this.places) if (other <= seq) place = Math.max(place, at);
    if (place) this.live.read(this.topic, place);
  }

  // What is told

  /** @param {Receipt[]} receipts */
  #take(receipts) {
    let changed = false;
    for (const r of receipts) {
      if (r.epoch !== this.epoch || r.user === this.me) continue;
      changed = true;
      if (r.user) this.#person(r.user, r);
      else this.#number(r);
    }
    if (changed) for (const row of this.thread.rows.values()) this.draw(row);
  }

  /** @param {string} id @param {Receipt} r */
  #person(id, r) {
    let p = this.people.get(id);
    if (!p) {
      this.people.set(id, (p = { id, display: id, delivered: 0, read: 0 }));
      this.#introduce(p);
    }
    p.at = { delivered: Math.max(p.at?.delivered ?? 0, r.delivered), read: Math.max(p.at?.read ?? 0, r.read) };
    for (const [seq, place] of this.places) this.#follow(p, seq, place);
  }

  /** @param {Person} p @param {number} seq @param {number} place */
  #follow(p, seq, place) {
    if (!p.at) return;
    if (p.at.delivered > 0 && place <= p.at.delivered) p.delivered = Math.max(p.delivered, seq);
    if (p.at.read > 0 && place <= p.at.read) p.read = Math.max(p.read, seq);
  }

  /** Somebody who was not here when the page was drawn. @param {Person} p */
  #introduce(p) {
    this.live.call('people.get', { ids: [p.id] }, { idempotent: true }).then(({ people }) => {
      if (people?.[0]) p.display = people[0].display;
      for (const row of this.thread.rows.values()) this.draw(row);
    }, () => {});
  }

  /** The author counts among those who have it. @param {Receipt} r */
  #number(r) {
    for (const [seq, place] of this.places) {
      const now = this.reach.get(seq) ?? { delivered: 0, read: 0 };
      if (r.delivered > 0 && place <= r.delivered) now.delivered = Math.max(now.delivered, (r.deliveredBy ?? 0) - 1);
      if (r.read > 0 && place <= r.read) now.read = Math.max(now.read, (r.readBy ?? 0) - 1);
      this.reach.set(seq, now);
    }
  }

  // Drawing

  /** A row is drawn anew. @param {HTMLElement} row @param {Message} m */
  drawn(row, m) {
    if (m.place) this.#put(m.seq, m.place.epoch === this.epoch ? m.place.seq : 0);
    if (m.reach) this.reach.set(m.seq, m.reach);
    if (!this.told && m.seq === this.newest) this.#show(row, 'sent', 'check', t('message.sent'));
    else this.draw(row);
  }

  /** Where nothing is told, the newest line says that it was sent. @param {number} seq */
  sent(seq) {
    if (this.told) return;
    this.newest = seq;
    for (const old of this.thread.list.querySelectorAll('.msg[data-seq] .msg-state')) old.remove();
    const row = this.thread.rows.get(seq);
    if (row) this.#show(row, 'sent', 'check', t('message.sent'));
  }

  /** @param {HTMLElement} row */
  draw(row) {
    if (!this.told || row.dataset.author !== this.me || row.classList.contains('deleted')) return;
    const seq = Number(row.dataset.seq);
    const { delivered, read } = this.reach.get(seq) ?? { delivered: 0, read: 0 };
    const people = [...this.people.values()];
    const names = people.filter((p) => p.read >= seq).map((p) => p.display);
    if (names.length && names.length >= read && this.told === 'who') this.#show(row, 'read', 'checks', readBy(names));
    else if (read || names.length) this.#show(row, 'read', 'checks', t('n.read_by', { n: Math.max(read, names.length) }));
    else if (delivered || people.some((p) => p.delivered >= seq)) this.#show(row, 'delivered', 'checks', t('message.delivered'));
    else this.#show(row, 'sent', 'check', t('message.sent'));
  }

  /** @param {HTMLElement} row @param {string} state @param {string} glyph @param {string} text */
  #show(row, state, glyph, text) {
    const old = one('.msg-state', row);
    if (old?.title === text) return;
    const fresh = h('span', { class: `msg-state ${state}`, 'aria-live': 'off', title: text }, h('span', { class: 'msg-reach' }, text), icon(glyph));
    if (old) old.replaceWith(fresh);
    else row.append(fresh);
  }
}

/** @param {string[]} names */
function readBy(names) {
  const few = names.slice(0, NAMED).join(t('list.comma'));
  return names.length > NAMED ? t('n.read_by_more', { names: few, n: names.length - NAMED }) : t('message.read_by', { names: few });
}
