// What the server wrote into the page as JSON.

/** @param {string} id @returns {any} */
function read(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent ?? 'null') : null;
}

/** @type {import('./types.js').Boot} */
export const boot = read('boot');

/** The thread of a post or a room; null on other pages. @type {import('./types.js').ThreadBoot | null} */
export const threadBoot = read('thread');
