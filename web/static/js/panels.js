// Panels that open over the page: the reader's menu, the people column on narrow screens.

import { all, one } from './dom.js';

/** A long post keeps its title in sight. */
function keepTitle() {
  const place = one('[data-head-title]');
  const title = one('.post h1');
  if (!place || !title) return;
  new IntersectionObserver(([entry]) => {
    place.textContent = entry.isIntersecting ? '' : title.textContent;
  }, { rootMargin: '-56px 0px 0px' }).observe(title);
}

export function startPanels() {
  keepTitle();
  const aside = one('.aside');
  for (const button of all('[data-action="aside"]')) {
    button.hidden = !aside;
    button.addEventListener('click', (event) => {
      event.stopPropagation();
      aside?.classList.toggle('open');
    });
  }
  document.addEventListener('click', (event) => {
    const target = /** @type {Node} */ (event.target);
    for (const menu of all('details.menu[open]')) if (!menu.contains(target)) menu.removeAttribute('open');
    if (aside && !aside.contains(target)) aside.classList.remove('open');
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    aside?.classList.remove('open');
    for (const menu of all('details.menu[open]')) {
      menu.removeAttribute('open');
      one('summary', menu)?.focus();
    }
  });
}
