// The start of every page. Each part works without the others; without any of this the pages
// still read and post.

import { threadBoot } from './boot.js';
import { startAnnouncements } from './announce.js';
import { startBadges } from './badges.js';
import { openLive } from './connection.js';
import { startDrafts } from './drafts.js';
import { startFeed } from './feed.js';
import { startInbox } from './inbox.js';
import { startOnline } from './online.js';
import { startPanels } from './panels.js';
import { startShortcuts } from './shortcuts.js';
import { startTheme } from './theme.js';
import { startThread } from './threadpage.js';
import { startTimes } from './times.js';
import { startToasts } from './toast.js';

startTimes();
startTheme();
startPanels();
startToasts();
startShortcuts();
startDrafts();

const live = await openLive();
if (live) {
  if (threadBoot) startThread(live, threadBoot);
  startFeed(live);
  startInbox(live);
  startBadges(live, threadBoot?.conversation);
  startOnline(live);
  startAnnouncements(live);
}
