// Short notes at the corner of the page, and questions before something is destroyed.

import { h, icon, iconButton, one } from './dom.js';
import { t } from './i18n.js';

const STAYS = 6000;

/** @param {HTMLElement} toast */
function leaveLater(toast) {
  let timer = setTimeout(() => toast.remove(), STAYS);
  toast.addEventListener('pointerenter', () => clearTimeout(timer));
  toast.addEventListener('pointerleave', () => { timer = setTimeout(() => toast.remove(), STAYS / 2); });
}

const ICONS = { ok: 'check', error: 'alert', info: 'bell' };

/** @param {string | Node} content @param {'ok' | 'error' | 'info'} [kind] */
export function toast(content, kind = 'ok') {
  const element = h('div', { class: `toast ${kind}` }, icon(ICONS[kind]), h('span', {}, content),
    iconButton('close', t('close'), () => element.remove()));
  one('#toasts')?.append(element);
  leaveLater(element);
}

/** What the server refused is a key of the catalogue or text. @param {unknown} error */
export const reasonOf = (error) => t(error instanceof Error ? error.message : String(error));

/** @param {unknown} error */
export const toastError = (error) => toast(t('toast.failed', { reason: reasonOf(error) }), 'error');

/** @param {string} question @param {string} action the word on the button @returns {Promise<boolean>} */
export function confirm(question, action) {
  return new Promise((answer) => {
    const dialog = h('dialog', { 'aria-label': question },
      h('div', { class: 'dialog-head' }, h('h2', {}, question)),
      h('form', { method: 'dialog', class: 'dialog-foot' },
        h('button', { class: 'btn', value: '' }, t('cancel')), h('button', { class: 'btn danger', value: 'yes' }, action)));
    dialog.addEventListener('close', () => { answer(dialog.returnValue === 'yes'); dialog.remove(); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Toasts the server drew leave too; forms that destroy ask first. */
export function startToasts() {
  for (const drawn of document.querySelectorAll('#toasts .toast')) leaveLater(/** @type {HTMLElement} */ (drawn));
  document.addEventListener('submit', async (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    const question = form.dataset.confirm;
    if (!question) return;
    event.preventDefault();
    if (await confirm(question, event.submitter?.textContent?.trim() || t('message.delete'))) form.submit();
  });
}
