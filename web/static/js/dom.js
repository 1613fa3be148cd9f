// Drawing: small helpers that make elements the way the templates do.

import { boot } from './boot.js';

/** @typedef {import('./types.js').Person} Person */
/** @typedef {Node | string | null | undefined | false} Child */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, any>} [props] `class`, `on…` listeners, attributes; false and null are left out
 * @param {...Child} children @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value == null) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

/** @template {Element} [T=HTMLElement] @param {string} selector @param {ParentNode} [root] @returns {T | null} */
export const one = (selector, root = document) => /** @type {T | null} */ (root.querySelector(selector));

/** @template {Element} [T=HTMLElement] @param {string} selector @param {ParentNode} [root] @returns {T[]} */
export const all = (selector, root = document) => /** @type {T[]} */ ([...root.querySelectorAll(selector)]);

const SVG = 'http://www.w3.org/2000/svg';

/** @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `${boot.icons}#${name}`);
  svg.append(use);
  return svg;
}

/** @param {Person} person @param {string} [size] @param {boolean} [live] shows whether they are online */
export function avatar(person, size = '', live = false) {
  const dot = live && h('i', { class: 'dot', hidden: !person.online });
  return h('span', { class: `avatar ${size} hue-${person.hue}`, 'aria-hidden': 'true', 'data-person': live && person.id }, person.initials, dot);
}

/** @param {string} name @param {string} label @param {(event: Event) => void} run @param {Record<string, any>} [more] */
export const iconButton = (name, label, run, more = {}) =>
  h('button', { class: 'icon-btn', type: 'button', 'aria-label': label, title: label, onclick: run, ...more }, icon(name));

/** @param {number} n */
export const badgeText = (n) => (n > 99 ? '99+' : String(n));

/** Text typed by somebody, not yet drawn by the server. @param {string} text @param {number} length */
export const shorten = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/** @param {Person} person */
export const profileURL = (person) => `/u/${encodeURIComponent(person.name)}`;

/** @param {{id: string, kind: string}} room */
export const roomURL = (room) => `/${room.kind === 'direct' ? 'direct' : 'chat'}/${encodeURIComponent(room.id)}`;
