// Times in the reader's own zone; relative ones are kept fresh.

import { all, h } from './dom.js';
import { t } from './i18n.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** @param {number} n */
const two = (n) => String(n).padStart(2, '0');
/** @param {Date} d */
const clock = (d) => `${two(d.getHours())}:${two(d.getMinutes())}`;

/** A day as 2026-11-21, in the reader's zone. @param {Date} d */
export const isoDay = (d) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;

/** @param {Date} d */
const full = (d) => t('time.full', { d: d.getDate(), m: t(`month.${d.getMonth() + 1}`), y: d.getFullYear() });

/** @param {Date} d @param {number} [now] */
export function ago(d, now = Date.now()) {
  const past = now - d.getTime();
  if (past < MINUTE) return t('time.now');
  if (past < HOUR) return t('time.minutes', { n: Math.floor(past / MINUTE) });
  if (past < DAY) return t('time.hours', { n: Math.floor(past / HOUR) });
  if (past < 7 * DAY) return t('time.days', { n: Math.floor(past / DAY) });
  if (d.getFullYear() === new Date(now).getFullYear()) return t('time.date', { d: d.getDate(), m: t(`month.${d.getMonth() + 1}`) });
  return full(d);
}

/** The name of a day for separators. @param {Date} d */
export function dayName(d) {
  const yesterday = new Date();
  yesterday.setDate(yesterday.getDate() - 1);
  if (isoDay(d) === isoDay(new Date())) return t('time.today');
  if (isoDay(d) === isoDay(yesterday)) return t('time.yesterday');
  return full(d);
}

/** @param {Date} d @param {'rel' | 'clock'} kind */
export const timeTag = (d, kind) =>
  h('time', { datetime: d.toISOString(), 'data-time': kind, title: `${isoDay(d)} ${clock(d)}` }, kind === 'clock' ? clock(d) : ago(d));

/** @param {HTMLTimeElement} tag */
function refresh(tag) {
  const d = new Date(tag.dateTime);
  const text = tag.dataset.time === 'clock' ? clock(d) : ago(d);
  if (tag.textContent !== text) tag.textContent = text;
}

/** Keeps every time of the page right, and tells the server the zone for the next page. */
export function startTimes() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  document.cookie = `tz=${zone};path=/;max-age=31536000;samesite=lax`;
  const run = () => all('time[data-time]').forEach((tag) => refresh(/** @type {HTMLTimeElement} */ (tag)));
  run();
  setInterval(run, 30_000);
  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && run());
}
