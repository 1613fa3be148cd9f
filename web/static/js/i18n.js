// The same catalogue the templates use, fetched once and cached for good by its address.

import { boot } from './boot.js';

/** @type {Record<string, string | {one: string, other: string}>} */
const phrases = await fetch(boot.i18n).then((r) => r.json()).catch(() => ({}));

/**
 * A key that is not in the catalogue is text already.
 * @param {string} key @param {Record<string, string | number>} [values] `n` chooses the form for one
 */
export function t(key, values = {}) {
  const phrase = phrases[key];
  if (phrase === undefined) return key;
  const text = typeof phrase === 'string' ? phrase : String(values.n) === '1' ? phrase.one : phrase.other;
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}
