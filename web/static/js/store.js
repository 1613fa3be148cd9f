// What this browser remembers between pages. It may be forbidden or full: then nothing is kept.

/** @param {string} key @returns {any} */
export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(`parley.${key}`) ?? 'null');
  } catch {
    return null;
  }
}

/** @param {string} key @param {any} value null forgets */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(`parley.${key}`);
    else localStorage.setItem(`parley.${key}`, JSON.stringify(value));
  } catch {
    // Private windows and full disks: the page works without.
  }
}
