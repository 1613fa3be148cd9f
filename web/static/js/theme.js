// Theme without a reload. The server draws the next page right because it reads the same cookie.

import { all, one } from './dom.js';

const root = document.documentElement;

/** @param {string} theme "auto", "light" or "dark" */
function setTheme(theme) {
  document.cookie = `theme=${theme};path=/;max-age=31536000;samesite=lax`;
  root.dataset.theme = theme;
  one('meta[name="color-scheme"]')?.setAttribute('content', theme === 'auto' ? 'light dark' : theme);
  for (const button of all('button[name="theme"]')) button.setAttribute('aria-pressed', String(button.getAttribute('value') === theme));
}

export function toggleTheme() {
  const dark = root.dataset.theme === 'dark' || (root.dataset.theme === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
  setTheme(dark ? 'light' : 'dark');
}

export function startTheme() {
  document.addEventListener('submit', (event) => {
    if (!/** @type {HTMLElement} */ (event.target).matches('[data-form="theme"]')) return;
    const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
    if (!button) return;
    event.preventDefault();
    setTheme(button.value);
  });
}
