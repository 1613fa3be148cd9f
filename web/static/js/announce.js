// What the operators say to everybody who has a page open.

import { toast } from './toast.js';

/** @param {import('./types.js').Live} live */
export function startAnnouncements(live) {
  live.subscribe('community/announcements', (m) => {
    if (m.type === 'announcement' && typeof m.payload?.text === 'string') toast(m.payload.text, 'info');
  });
}
