// Marks messages read: only rows that are visible, and only while the tab has the focus for a
// second. The cursor moves forward only.

const LOOKED_AT = 1000;

export class Reading {
  /**
   * @param {HTMLElement | null} box what scrolls, null for the page @param {number} seq read so far
   * @param {(seq: number) => void} mark
   */
  constructor(box, seq, mark) {
    this.seq = seq;
    this.mark = mark;
    /** @type {Set<number>} */
    this.visible = new Set();
    this.timer = 0;
    /** Everything was read, or nothing ever: saying so once makes the reader a follower. */
    this.owed = 0;
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), { root: box, threshold: [0.1, 0.5] });
    for (const name of ['focus', 'blur']) addEventListener(name, () => this.#wait());
    document.addEventListener('visibilitychange', () => this.#wait());
  }

  /** @param {HTMLElement} row */
  watch(row) {
    if (Number(row.dataset.seq) > this.seq) this.observer.observe(row);
  }

  /** Marks up to seq as soon as anybody looks at the page. @param {number} seq */
  owe(seq) {
    this.owed = seq;
    this.#wait();
  }

  /** Another device was here. @param {number} seq */
  moveTo(seq) {
    this.seq = Math.max(this.seq, seq);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #seen(entries) {
    for (const entry of entries) {
      const row = /** @type {HTMLElement} */ (entry.target);
      const tall = entry.boundingClientRect.height > innerHeight / 2;
      if (entry.intersectionRatio >= 0.5 || (tall && entry.isIntersecting)) this.visible.add(Number(row.dataset.seq));
      else this.visible.delete(Number(row.dataset.seq));
      if (!row.isConnected) this.observer.unobserve(row);
    }
    this.#wait();
  }

  #wait() {
    clearTimeout(this.timer);
    const far = Math.max(this.owed, ...this.visible);
    if (!far || (far <= this.seq && !this.owed) || !document.hasFocus() || document.visibilityState !== 'visible') return;
    this.timer = setTimeout(() => {
      this.seq = Math.max(this.seq, far);
      this.owed = 0;
      for (const seq of this.visible) if (seq <= far) this.visible.delete(seq);
      this.mark(far);
    }, LOOKED_AT);
  }
}
