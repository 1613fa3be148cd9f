// One message as an element, the same as templates/parts/thread.html draws it.

import { boot } from './boot.js';
import { avatar, h, icon, iconButton, profileURL } from './dom.js';
import { t } from './i18n.js';
import { timeTag } from './times.js';

/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Quote} Quote */
/** @typedef {'chat' | 'comments'} Kind */

/** @param {string} role */
const roleTag = (role) => (role === 'admin' || role === 'moderator' ? h('span', { class: 'tag' }, t(`role.${role}`)) : null);

/** @param {Quote} q */
export const quote = (q) =>
  h('a', { class: 'quote', href: `#c${q.seq}` }, icon('reply'), h('b', {}, q.author.display), h('span', {}, q.excerpt || t('message.deleted')));

/** The server has sanitised html; nothing else is ever put in as HTML. @param {Message} m */
function body(m) {
  if (m.deleted) return h('div', { class: 'msg-body' }, t('message.deleted'));
  const element = h('div', { class: 'msg-body prose' });
  element.innerHTML = m.html;
  return element;
}

/** Loaded pages say what this reader may do; live events are the same for all. @param {Message} m @param {boolean} loaded */
function rights(m, loaded) {
  const me = boot.user;
  if (loaded) return { edit: !!m.can_edit, remove: !!m.can_delete };
  const own = m.author.id === me?.id;
  return { edit: own, remove: own || me?.role === 'admin' || me?.role === 'moderator' };
}

/** Clicks are handled once for the whole list: see actions.js. @param {Message} m @param {boolean} loaded */
function actions(m, loaded) {
  if (m.deleted || !boot.user) return null;
  const can = rights(m, loaded);
  /** @param {string} name @param {string} glyph */
  const button = (name, glyph) => iconButton(glyph, t(`message.${name}`), () => {}, { 'data-action': name });
  return h('div', { class: 'msg-actions' }, button('reply', 'reply'), can.edit && button('edit', 'pencil'), can.remove && button('delete', 'trash'));
}

/** @param {Message} m @param {Kind} kind @param {boolean} loaded */
function content(m, kind, loaded) {
  const at = new Date(m.created);
  const head = h('header', { class: 'msg-head' },
    h('a', { class: 'msg-author', href: profileURL(m.author) }, m.author.display), roleTag(m.author.role),
    h('a', { href: `#c${m.seq}` }, timeTag(at, kind === 'chat' ? 'clock' : 'rel')),
    m.edited && !m.deleted && h('span', { class: 'edited' }, t('message.edited')));
  return [
    h('div', { class: 'msg-gutter' }, avatar(m.author), kind === 'chat' && timeTag(at, 'clock')),
    h('div', { class: 'msg-main' }, head, m.reply_to && quote(m.reply_to), body(m)),
    actions(m, loaded),
  ];
}

/** @param {Message} m @param {Kind} kind @param {boolean} loaded with history.load, not by an event */
export function drawRow(m, kind, loaded) {
  const own = m.author.id === boot.user?.id;
  const named = !own && !!boot.user && !!m.mentions?.includes(boot.user.id);
  const row = h('article', {
    class: `msg${own ? ' own' : ''}${named ? ' named' : ''}${m.deleted ? ' deleted' : ''}`,
    id: `c${m.seq}`, 'data-seq': m.seq, 'data-author': m.author.id, 'data-at': new Date(m.created).getTime(), tabindex: '-1',
  }, ...content(m, kind, loaded));
  if (rights(m, loaded).edit && !m.deleted) row.dataset.body = m.body;
  return row;
}

/**
 * A line that the server has not stored yet.
 * @param {{key: string, body: string, at: number, quote: Quote | null}} item @param {Kind} kind
 */
export function drawPending(item, kind) {
  const me = /** @type {import('./types.js').Person} */ (boot.user);
  const at = new Date(item.at);
  return h('article', { class: 'msg own sending', 'data-key': item.key, 'data-author': me.id, 'data-at': item.at, tabindex: '-1' },
    h('div', { class: 'msg-gutter' }, avatar(me), kind === 'chat' && timeTag(at, 'clock')),
    h('div', { class: 'msg-main' },
      h('header', { class: 'msg-head' }, h('span', { class: 'msg-author' }, me.display), roleTag(me.role), timeTag(at, kind === 'chat' ? 'clock' : 'rel')),
      item.quote && quote(item.quote),
      h('div', { class: 'msg-body plain' }, item.body)),
    h('span', { class: 'msg-state' }));
}
