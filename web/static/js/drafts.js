// A post that is being written survives a closed tab.

import { boot } from './boot.js';
import { one } from './dom.js';
import { recall, remember } from './store.js';

/** @typedef {HTMLInputElement | HTMLTextAreaElement | null} Field */

export function startDrafts() {
  const form = one('form[data-draft]');
  if (!form) return;
  const shelf = `post.${boot.user?.id}.${form.dataset.draft}`;
  const title = /** @type {Field} */ (one('#title', form));
  const body = /** @type {Field} */ (one('#body', form));
  if (!title || !body) return;
  const kept = recall(shelf);
  // A text that was sent and not refused is a post by now.
  if (kept?.sent && !one('.error', form)) remember(shelf, null);
  else if (kept && !title.value && !body.value) [title.value, body.value] = [kept.title, kept.body];
  const save = (sent = false) => remember(shelf, title.value || body.value ? { title: title.value, body: body.value, sent } : null);
  form.addEventListener('input', () => save());
  form.addEventListener('submit', () => save(true));
  body.addEventListener('keydown', (event) => {
    const key = /** @type {KeyboardEvent} */ (event);
    if (key.key === 'Enter' && (key.ctrlKey || key.metaKey)) /** @type {HTMLFormElement} */ (form).requestSubmit();
  });
}
