// The notification inbox, live.

import { all, avatar, h, one } from './dom.js';
import { t } from './i18n.js';
import { Pill } from './pill.js';
import { timeTag } from './times.js';

/** @typedef {import('./types.js').Live} Live */
/** @typedef {import('./types.js').Notification} Notification */

/** As templates/pages/notifications.html. @param {Notification} n */
const drawNote = (n) =>
  h('article', { class: 'note unread', 'data-note': n.id }, avatar(n.actor),
    h('div', {},
      h('p', { class: 'what' }, h('a', { class: 'link', href: `/notifications/${encodeURIComponent(n.id)}` }, h('b', {}, n.actor.display), ` ${t(`note.${n.kind}`)} `, n.title ? h('b', {}, n.title) : '')),
      h('p', { class: 'excerpt' }, n.excerpt)),
    h('span', { class: 'side' }, timeTag(new Date(n.created), 'rel'), h('span', { class: 'mark' }), h('span', { class: 'sr' }, t('inbox.unread'))));

/** @param {Live} live */
export function startInbox(live) {
  const list = one('[data-list="notes"]');
  if (!list) return;
  /** @type {Notification[]} */
  let waiting = [];
  const show = () => {
    for (const n of waiting) list.prepend(drawNote(n));
    waiting = [];
    for (const empty of all('[data-empty]')) empty.remove();
    for (const form of all('[data-form="read-all"]')) form.hidden = false;
  };
  const pill = new Pill('notes', 'n.new', 'up', () => { show(); scrollTo({ top: 0, behavior: 'smooth' }); });
  live.on('direct', (m) => {
    if (m.type !== 'notification.created' || one(`[data-note="${CSS.escape(m.payload.notification.id)}"]`, list)) return;
    waiting.push(m.payload.notification);
    // At the top nothing is being read that could move under the pointer but the list itself.
    if (scrollY < 40) show();
    else pill.add();
  });
}
