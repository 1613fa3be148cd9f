// Everything by keyboard. Single keys work only while nothing is being written.

import { all, one } from './dom.js';
import { toggleTheme } from './theme.js';

/** @type {Record<string, string>} */
const places = { h: '/', c: '/chat', d: '/direct', n: '/notifications', s: '/settings' };
const ITEMS = '.post-title a, .msg[data-seq], .note .link, .conversation';

/** @param {EventTarget | null} target */
const writing = (target) => target instanceof HTMLElement && target.matches('input, textarea, select, [contenteditable]');

/** Moves the focus to the next or previous item of the page's list. @param {number} step */
function move(step) {
  const items = all(`[data-navigate] :is(${ITEMS})`);
  if (!items.length) return;
  const here = items.findIndex((item) => item.contains(document.activeElement));
  // From nowhere, a chat starts at its newest line and a list at its first.
  const start = items[0].matches('.msg') && document.body.dataset.page === 'chat' ? items.length - 1 : 0;
  const next = here < 0 ? start : Math.min(items.length - 1, Math.max(0, here + step));
  items[next].focus({ preventScroll: true });
  items[next].scrollIntoView({ block: 'nearest' });
}

/** @param {string} action of the focused message */
function onMessage(action) {
  one(`[data-action="${action}"]`, document.activeElement?.closest('.msg') ?? document.createElement('i'))?.click();
}

/** @type {Record<string, () => void>} */
const keys = {
  j: () => move(1),
  k: () => move(-1),
  c: () => (one('#composer') ?? one('#body'))?.focus(),
  r: () => onMessage('reply'),
  e: () => onMessage('edit'),
  n: () => location.assign('/new'),
  t: toggleTheme,
  '/': () => one('#q')?.focus(),
  '?': showShortcuts,
};

function showShortcuts() {
  const dialog = /** @type {HTMLDialogElement | null} */ (one('#shortcuts'));
  if (dialog && !dialog.open) dialog.showModal();
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (document.querySelector('dialog[open]')) return;
  if (writing(event.target)) {
    if (event.key === 'Escape') /** @type {HTMLElement} */ (event.target).blur();
    return;
  }
  const focused = document.activeElement?.closest('[data-navigate]');
  if (focused && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
    event.preventDefault();
    move(event.key === 'ArrowDown' ? 1 : -1);
    return;
  }
  if (afterG) {
    afterG = false;
    if (places[event.key]) location.assign(places[event.key]);
    return;
  }
  if (event.key === 'g') {
    afterG = true;
    setTimeout(() => { afterG = false; }, 1500);
  } else if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
}

let afterG = false;

export function startShortcuts() {
  document.addEventListener('keydown', pressed);
  for (const button of all('[data-action="shortcuts"]')) {
    button.hidden = false;
    button.addEventListener('click', showShortcuts);
  }
}
