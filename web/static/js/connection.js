// One connection for the page, and the bar that says when it is gone.

import { boot } from './boot.js';
import { h, one } from './dom.js';
import { t } from './i18n.js';
import { toast } from './toast.js';

/** @typedef {import('./types.js').Live} Live */

const GONE = [4500, 4502, 4505]; // close codes: unauthorized, disconnected, banned
const QUIET = 5000; // most interruptions are over before anybody should hear of them

/** @returns {Promise<Live | null>} null: this page has no live parts */
export async function openLive() {
  if (!boot.live || !boot.user) return null;
  try {
    const { connect } = await import('/sdk/parley.js');
    const live = connect(boot.live);
    watch(live);
    return live;
  } catch (error) {
    console.warn('live parts are off:', error);
    return null;
  }
}

/** Whether the socket stands right now. */
export const link = { up: false, ever: false };

/** @param {Live} live */
function watch(live) {
  const bar = /** @type {HTMLElement} */ (one('#connection'));
  let timer = 0;
  /** @param {string} text @param {boolean} [over] nothing more will happen by itself */
  const show = (text, over = false) => {
    bar.replaceChildren(over ? '' : h('i', { class: 'spin' }), text,
      over ? h('button', { onclick: () => location.reload() }, t('live.reload')) : '');
    bar.hidden = false;
  };
  live.on('error', (error) => {
    if (/** @type {any} */ (error).number === 403) show(t('live.ended'), true);
    else console.warn(error);
  });
  live.on('state', (s) => {
    link.up = s.state === 'connected';
    link.ever ||= link.up;
    document.documentElement.dataset.live = s.state;
    document.dispatchEvent(new CustomEvent('parley:link'));
    if (s.state === 'connected') {
      clearTimeout(timer);
      timer = 0;
      if (!bar.hidden) toast(t('live.back'));
      bar.hidden = true;
    } else if (s.state === 'closed') {
      clearTimeout(timer);
      show(t(GONE.includes(s.code) ? 'live.ended' : 'live.closed'), true);
    } else {
      const text = s.state === 'offline' ? 'live.offline' : one('#composer') ? 'live.reconnecting_queue' : 'live.reconnecting';
      if (!bar.hidden) show(t(text));
      else if (!timer) timer = setTimeout(() => show(t(text)), QUIET);
    }
  });
}
