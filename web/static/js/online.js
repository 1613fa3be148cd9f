// Who is here: dots on avatars and the list at the right.

import { all, avatar, h, one, profileURL } from './dom.js';

/** @typedef {import('./types.js').Live} Live */
/** @typedef {import('./types.js').Person} Person */

const TOPIC = 'community/online';
const SHOWN = 30;

/** @type {Set<string>} */
const here = new Set();
/** @type {Map<string, Person>} */
const known = new Map();

/** @param {string} id @param {boolean} online */
function mark(id, online) {
  const safe = CSS.escape(id);
  for (const dot of all(`[data-person="${safe}"] .dot`)) dot.hidden = !online;
  for (const row of all(`[data-person-row="${safe}"]`)) row.classList.toggle('away', !online);
}

/** @param {Person} p */
const row = (p) =>
  h('a', { class: 'person', href: profileURL(p), 'data-person-row': p.id }, avatar({ ...p, online: true }, 's', true),
    h('span', { class: 'who' }, h('b', {}, p.display), h('span', {}, `@${p.name}`)));

function drawList() {
  for (const count of all('[data-online-count]')) count.textContent = String(here.size);
  const list = one('[data-list="online"]');
  if (!list) return;
  for (const drawn of all('[data-person-row]', list)) if (!here.has(drawn.dataset.personRow ?? '')) drawn.remove();
  for (const id of here) {
    const person = known.get(id);
    if (person && list.childElementCount < SHOWN && !one(`[data-person-row="${CSS.escape(id)}"]`, list)) list.append(row(person));
  }
  const nobody = one('[data-online-empty]');
  if (nobody) nobody.hidden = here.size > 0;
}

/** @param {Live} live @param {string[]} ids */
async function learn(live, ids) {
  const unknown = ids.filter((id) => !known.has(id)).slice(0, 50);
  if (unknown.length && one('[data-list="online"]')) {
    const { people } = await live.call('people.get', { ids: unknown }, { idempotent: true });
    for (const p of people) known.set(p.id, p);
  }
  drawList();
}

/** @param {Live} live */
export function startOnline(live) {
  /** @param {string} id @param {boolean} online */
  const change = (id, online) => {
    if (online) here.add(id);
    else here.delete(id);
    mark(id, online);
    learn(live, [id]).catch(() => {});
  };
  live.subscribe(TOPIC, undefined, { presence: (e) => change(e.user, e.change === 'joined') });
  // What a page was drawn with, and every reconnect, is put right by asking once.
  live.on('state', async (s) => {
    if (s.state !== 'connected') return;
    const members = await live.presence(TOPIC).catch(() => null);
    if (!members) return;
    const now = new Set(members.map((m) => m.user));
    for (const id of here) if (!now.has(id)) mark(id, false);
    here.clear();
    for (const id of now) { here.add(id); mark(id, true); }
    learn(live, [...here]).catch(() => {});
  });
}
