// Unread counts of the navigation: rooms are counted here from their topics, the rest is told by
// the server.

import { boot } from './boot.js';
import { all, avatar, badgeText, h, one, roomURL, shorten } from './dom.js';
import { t } from './i18n.js';
import { timeTag } from './times.js';
import { toast } from './toast.js';

/** @typedef {import('./types.js').Live} Live */
/** @typedef {import('./types.js').Unread} Unread */
/** @typedef {import('./types.js').RoomState} RoomState */

/** @type {Map<string, RoomState>} */
const rooms = new Map([...(boot.rooms ?? []), ...(boot.directs ?? [])].map((r) => [r.id, r]));
let notifications = boot.unread.notifications;
const title = document.title;

/** @param {string} kind "chat" or "direct" */
const total = (kind) => [...rooms.values()].filter((r) => (r.kind === 'direct') === (kind === 'direct')).reduce((n, r) => n + r.unread, 0);

/** @param {HTMLElement} badge @param {number} n */
function setBadge(badge, n) {
  badge.textContent = badgeText(n);
  badge.hidden = n === 0;
}

function drawTotals() {
  const counts = { chat: total('chat'), direct: total('direct'), notifications };
  for (const [name, n] of Object.entries(counts)) for (const badge of all(`[data-count="${name}"]`)) setBadge(badge, n);
  one('[data-nav="notifications"]')?.classList.toggle('unread', notifications > 0);
  const loud = Math.max(counts.direct, counts.notifications); // a direct message is among the notifications too
  document.title = loud ? `(${badgeText(loud)}) ${title}` : title;
}

/** @param {string} id of the conversation @param {number} n */
export function setUnread(id, n) {
  const room = rooms.get(id);
  if (!room) return;
  room.unread = n;
  for (const entry of all(`[data-room="${CSS.escape(id)}"]`)) {
    entry.classList.toggle('unread', n > 0);
    const badge = one('[data-unread]', entry);
    if (badge) setBadge(badge, n);
  }
  drawTotals();
}

/** @param {Unread | undefined} unread */
export function setInbox(unread) {
  if (!unread) return;
  notifications = unread.notifications;
  drawTotals();
}

/** The last line in lists of conversations. @param {import('./types.js').Message} message */
function drawLast(message) {
  for (const entry of all(`.conversation[data-room="${CSS.escape(message.conversation)}"]`)) {
    const last = one('[data-last]', entry);
    if (last) last.textContent = `${message.author.display}: ${shorten(message.body, 80)}`;
    one('time', entry)?.replaceWith(timeTag(new Date(message.created), 'rel'));
  }
}

/** @param {import('./types.js').Room} room a direct conversation nobody listed yet */
function addDirect(room) {
  rooms.set(room.id, { id: room.id, kind: room.kind, joined: true, unread: 0, last_seq: room.last_seq });
  const list = one('[data-list="directs"]');
  if (!list || !room.peer) return;
  one('[data-empty]', list)?.remove();
  list.prepend(h('a', { class: 'nav-item', href: roomURL(room), 'data-room': room.id },
    avatar(room.peer, 'xs', true), h('span', { class: 'label' }, room.peer.display), h('span', { class: 'badge', 'data-unread': true, hidden: true })));
}

/** @param {any} p payload of direct.message @param {string | undefined} current */
function tookDirect(p, current) {
  if (!rooms.has(p.room.id)) addDirect(p.room);
  drawLast(p.message);
  const room = rooms.get(p.room.id);
  if (room) room.last_seq = p.message.seq;
  if (p.message.author.id === boot.user?.id || p.room.id === current) return;
  setUnread(p.room.id, (rooms.get(p.room.id)?.unread ?? 0) + 1);
  toast(h('a', { href: roomURL(p.room) }, h('b', {}, p.message.author.display), ` ${shorten(p.message.body, 80)}`), 'info');
}

/** @param {import('./types.js').Notification} n @param {string | undefined} current */
function announce(n, current) {
  if (n.kind === 'direct' || (current && n.url.split('#')[0] === location.pathname)) return;
  toast(h('a', { href: `/notifications/${encodeURIComponent(n.id)}` }, h('b', {}, n.actor.display), ` ${t(`note.${n.kind}`)} `, h('b', {}, n.title)), 'info');
}

/**
 * Keeps the counts live. The page's own conversation is counted by what its reader has seen.
 * @param {Live} live @param {string | undefined} current the conversation this page shows
 */
export function startBadges(live, current) {
  for (const room of boot.rooms ?? []) {
    if (room.id === current || !room.joined) continue;
    live.subscribe(`community/c/${room.id}`, (m) => {
      if (m.type !== 'message.created') return;
      room.last_seq = m.payload.seq;
      drawLast(m.payload);
      if (m.payload.author.id !== boot.user?.id) setUnread(room.id, (rooms.get(room.id)?.unread ?? 0) + 1);
    });
  }
  live.on('direct', (m) => {
    const p = m.payload;
    if (m.type === 'direct.message') tookDirect(p, current);
    if (m.type === 'notification.created') announce(p.notification, current);
    if (m.type === 'read.changed' && p.conversation !== current) setUnread(p.conversation, Math.max(0, (rooms.get(p.conversation)?.last_seq ?? 0) - p.seq));
    setInbox(p.unread);
  });
  drawTotals();
}
