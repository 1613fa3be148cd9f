// The shapes that the server writes into pages and sends over the socket; web/views.go is the
// original of each. Only editors and tsc read this file.

/** @typedef {{id: string, name: string, display: string, role: string, online: boolean, hue: number, initials: string}} Person */
/** @typedef {{epoch: string, seq: number}} Position */
/** @typedef {{notifications: number, chat: number, direct: number}} Unread */
/** @typedef {{seq: number, author: Person, excerpt: string}} Quote */
/**
 * @typedef {{conversation: string, seq: number, id: string, author: Person, html: string, body: string, created: string,
 *   edited: boolean, deleted: boolean, reply_to?: Quote, key?: string, mentions?: string[], can_edit?: boolean, can_delete?: boolean,
 *   place?: Position, reach?: Reach}} Message
 */
/** @typedef {{delivered: number, read: number}} Reach */
/** @typedef {{id: string, display: string, delivered: number, read: number}} Reader */
/** @typedef {{told: '' | 'who' | 'count', live: boolean, people?: Reader[]}} Receipts */
/** @typedef {{id: string, kind: string, joined: boolean, unread: number, last_seq: number}} RoomState */
/**
 * @typedef {{id: string, kind: string, title: string, description: string, peer?: Person, joined: boolean, unread: number, last_seq: number,
 *   last_at: string, last_text: string, members: number}} Room
 */
/** @typedef {{id: string, slug: string, name: string, hue: number}} Category */
/**
 * @typedef {{id: string, title: string, excerpt: string, author: Person, category: Category, comments: number, created: string,
 *   last_at: string, last_author: Person, unread: number, new: boolean, pinned: boolean, locked: boolean, people: Person[] | null}} PostSummary
 */
/** @typedef {{id: string, kind: string, actor: Person, title: string, excerpt: string, url: string, created: string, read: boolean}} Notification */
/**
 * @typedef {{user: Person | null, live: string, sdk: string, csrf: string, lang: string, i18n: string, icons: string,
 *   feed: Position, unread: Unread, rooms: RoomState[], directs: RoomState[]}} Boot
 */
/**
 * @typedef {{kind: 'chat' | 'comments', conversation: string, more: boolean, read_seq: number, last_seq: number,
 *   position: Position, members: Person[] | null, can_send: boolean, receipts: Receipts, places: [number, number][],
 *   reach: Record<string, Reach>}} ThreadBoot
 */
/** @typedef {import('/sdk/parley.js').Parley} Live */

export {};
