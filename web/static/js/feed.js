// Lists of posts: counts change in place, new posts wait behind a pill.

import { boot } from './boot.js';
import { all, avatar, badgeText, h, icon, one } from './dom.js';
import { t } from './i18n.js';
import { Pill } from './pill.js';
import { timeTag } from './times.js';
import { toast } from './toast.js';

/** @typedef {import('./types.js').Live} Live */
/** @typedef {import('./types.js').PostSummary} PostSummary */

/** @param {PostSummary} p */
function side(p) {
  const words = t('n.comments', { n: p.comments });
  return h('div', { class: 'post-side' },
    h('span', { class: 'post-count', title: words },
      h('span', { class: 'badge soft', 'data-unread': true, hidden: !p.unread }, t('n.new', { n: badgeText(p.unread) })),
      icon('comment'), h('span', { class: 'num', 'data-comments': true }, String(p.comments)), h('span', { class: 'sr' }, words)),
    h('span', { class: 'post-last' }, h('span', { class: 'faces hide-phone' }, ...(p.people ?? []).map((person) => avatar(person, 'xs'))),
      h('span', { title: t('post.last_at') }, timeTag(new Date(p.last_at), 'rel'))));
}

/** What the navigation calls a category: the event is the same for readers of every language. @param {PostSummary['category']} c */
const nameOf = (c) => one(`.nav a[href="/c/${CSS.escape(encodeURIComponent(c.slug))}"] .label`)?.textContent ?? c.name;

/** As "post-row" of templates/parts/posts.html. @param {PostSummary} p @param {boolean} categories */
function drawPost(p, categories) {
  return h('li', { class: `post-row fresh${p.new || p.unread ? ' unread' : ''}`, 'data-post': p.id }, avatar(p.author),
    h('h2', { class: 'post-title' }, h('a', { href: `/p/${encodeURIComponent(p.id)}` }, p.title)),
    h('p', { class: 'post-excerpt' }, p.excerpt),
    h('p', { class: 'post-meta' }, categories && h('a', { class: `cat hue-${p.category.hue}`, href: `/c/${encodeURIComponent(p.category.slug)}` }, nameOf(p.category)),
      h('span', {}, p.author.display), timeTag(new Date(p.created), 'rel')),
    side(p));
}

/** @param {HTMLElement} row @param {PostSummary} p */
function update(row, p) {
  const seen = Number(one('[data-comments]', row)?.textContent ?? 0);
  const badge = one('[data-unread]', row);
  let unread = Number(row.dataset.unread ?? parseInt(badge?.textContent ?? '0', 10)) || 0;
  if (badge?.hidden) unread = 0;
  if (p.last_author.id !== boot.user?.id && p.comments > seen) unread += p.comments - seen;
  row.dataset.unread = String(unread);
  one('.post-side', row)?.replaceWith(side({ ...p, unread }));
  row.classList.toggle('unread', row.classList.contains('unread') || unread > 0);
  const title = one('.post-title a', row);
  if (title && title.textContent !== p.title) title.textContent = p.title;
}

/** @param {Live} live */
export function startFeed(live) {
  const list = one('[data-list="posts"]');
  if (!list) return;
  const category = one('[data-category]')?.dataset.category;
  /** @type {Map<string, PostSummary>} */
  const waiting = new Map();
  const pill = new Pill('posts', 'n.new_posts', 'up', () => {
    const pinned = all('[data-pinned]', list).at(-1);
    for (const p of waiting.values()) {
      const row = drawPost(p, !category);
      if (pinned) pinned.after(row);
      else list.prepend(row);
    }
    waiting.clear();
    scrollTo({ top: 0, behavior: 'smooth' });
  });
  live.subscribe('community/feed', (m) => {
    const p = m.payload;
    const row = one(`[data-post="${CSS.escape(p.id)}"]`, list);
    if (m.type === 'post.deleted') {
      waiting.delete(p.id);
      row?.classList.add('gone');
    } else if (row) update(row, p);
    else if (waiting.has(p.id)) waiting.set(p.id, p);
    else if (m.type === 'post.created' && (!category || p.category.id === category) && p.author.id !== boot.user?.id) {
      waiting.set(p.id, { ...p, new: true });
      pill.add();
    }
  }, { since: boot.feed.epoch ? boot.feed : undefined, onGap: () => toast(h('a', { href: location.href }, `${t('feed.stale')} `, h('b', {}, t('live.reload'))), 'info') });
}
