package web_test

import (
	"fmt"
	"html/template"
	"time"

	"github.com/parleyhq/parley/web"
)

// A small community, as it looks on a busy afternoon.

var fixedNow = time.Date(2026, 11, 21, 15, 42, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return fixedNow.Add(-d) }

func people() map[string]web.Person {
	return map[string]web.Person{
		"mei":   {ID: "u-mei", Name: "meilin", Display: "Mei Lin", Role: "admin", Online: true},
		"tomas": {ID: "u-tomas", Name: "tomas", Display: "Tomás Rivera", Role: "moderator", Online: true},
		"ada":   {ID: "u-ada", Name: "ada", Display: "Ada Okafor", Role: "member", Online: true},
		"wang":  {ID: "u-wang", Name: "wangxh", Display: "王晓华", Role: "member", Online: true},
		"jonas": {ID: "u-jonas", Name: "jonas", Display: "Jonas Brandt", Role: "member"},
		"priya": {ID: "u-priya", Name: "priya", Display: "Priya Nair", Role: "member"},
		"liu":   {ID: "u-liu", Name: "liuyang", Display: "刘洋", Role: "member", Online: true},
		"sam":   {ID: "u-sam", Name: "sam_k", Display: "", Role: "member"},
	}
}

func crowd(names ...string) []web.Person {
	all := people()
	out := make([]web.Person, 0, len(names))
	for _, n := range names {
		out = append(out, all[n])
	}
	return out
}

func categories() []web.Category {
	return []web.Category{
		{ID: "1", Slug: "announcements", Name: "Announcements", Description: "What changed and what comes next. Written by the people who run this place.", Hue: 1, Posts: 12},
		{ID: "2", Slug: "questions", Name: "Questions", Description: "Ask anything about building with live data. There is no question too small.", Hue: 7, Posts: 184},
		{ID: "3", Slug: "show", Name: "Show and tell", Description: "What you built, broke or measured.", Hue: 5, Posts: 57},
		{ID: "4", Slug: "zh", Name: "中文交流", Description: "用中文讨论的地方。", Hue: 11, Posts: 73},
		{ID: "5", Slug: "off-topic", Name: "Off topic", Description: "Everything else.", Hue: 9, Posts: 31},
	}
}

func rooms() []web.Room {
	return []web.Room{
		{ID: "general", Kind: "room", Title: "general", Description: "Anything that concerns everybody", Unread: 0, LastSeq: 412, LastAt: ago(2 * time.Minute), LastText: "Ada: the flush loop wins by a mile", Members: 128},
		{ID: "help", Kind: "room", Title: "help", Description: "Stuck? Somebody has been there", Unread: 4, LastSeq: 1204, LastAt: ago(6 * time.Minute), LastText: "Jonas: that was the proxy, thanks!", Members: 97},
		{ID: "zh", Kind: "room", Title: "中文聊天", Description: "用中文随便聊", Unread: 128, LastSeq: 640, LastAt: ago(18 * time.Minute), LastText: "刘洋：今天升级到新版本了", Members: 41},
		{ID: "ops", Kind: "group", Title: "operators", Description: "On call and after", Unread: 0, LastSeq: 88, LastAt: ago(26 * time.Hour), LastText: "Tomás: drained n2, all quiet", Members: 5},
	}
}

func directs() []web.Room {
	all := people()
	tomas, wang, priya := all["tomas"], all["wang"], all["priya"]
	return []web.Room{
		{ID: "d1", Kind: "direct", Peer: &tomas, Unread: 2, LastSeq: 31, LastAt: ago(4 * time.Minute), LastText: "Could you look at the draft before six?"},
		{ID: "d2", Kind: "direct", Peer: &wang, LastSeq: 12, LastAt: ago(3 * time.Hour), LastText: "好的，明天见"},
		{ID: "d3", Kind: "direct", Peer: &priya, LastSeq: 7, LastAt: ago(4 * 24 * time.Hour), LastText: "Thanks for the numbers!"},
	}
}

func layout(path, title string) web.Layout {
	me := people()["mei"]
	return web.Layout{
		Preferences: web.Preferences{Lang: web.English, Theme: "auto", Zone: time.UTC},
		Title:       title, Path: path, User: &me, CSRF: "csrf-token",
		Unread:     web.Unread{Notifications: 3, Chat: 132, Direct: 2},
		Categories: categories(), Rooms: rooms(), Directs: directs(),
		Online: crowd("ada", "liu", "mei", "tomas", "wang"), OnlineCount: 5,
		LiveURL: web.PathLive, Feed: web.Position{Epoch: "k3", Seq: 9},
	}
}

func posts() []web.PostSummary {
	c, p := categories(), people()
	return []web.PostSummary{
		{ID: "01", Title: "Welcome: how this place works", Excerpt: "Three minutes on categories, rooms and the few rules there are. Read this first, then say hello in the comments.", Author: p["mei"], Category: c[0], Comments: 42, Created: ago(41 * 24 * time.Hour), LastAt: ago(3 * time.Hour), LastAuthor: p["sam"], Pinned: true, People: crowd("tomas", "priya", "sam")},
		{ID: "02", Title: "Does a slow reader hold up everybody else in the room?", Excerpt: "I have one dashboard on hotel Wi-Fi and forty on fibre. When the slow one stalls, do the others wait, and where do its messages go meanwhile?", Author: p["jonas"], Category: c[1], Comments: 18, Unread: 3, Created: ago(5 * time.Hour), LastAt: ago(7 * time.Minute), LastAuthor: p["ada"], People: crowd("ada", "tomas", "wang", "priya")},
		{ID: "03", Title: "从自建长连接网关迁移过来的一些经验", Excerpt: "我们有大约六万台设备在线，迁移分三步进行：先双写，再切读，最后关掉旧网关。中间踩了几个坑，写出来给大家参考。", Author: p["wang"], Category: c[3], Comments: 26, New: true, Unread: 26, Created: ago(9 * time.Hour), LastAt: ago(24 * time.Minute), LastAuthor: p["liu"], People: crowd("liu", "mei")},
		{ID: "04", Title: "Live seat map for a small theatre, 300 lines of Go", Excerpt: "Two people clicking the same seat used to be an argument at the door. Here is how the hold, the countdown and the release work now.", Author: p["priya"], Category: c[2], Comments: 9, Created: ago(22 * time.Hour), LastAt: ago(2 * time.Hour), LastAuthor: p["mei"], People: crowd("mei", "ada")},
		{ID: "05", Title: "Presence says two people, the room shows three", Excerpt: "Only after the laptop wakes from sleep, and only for about half a minute. Is that the grace period doing what it should?", Author: p["ada"], Category: c[1], Comments: 6, Created: ago(31 * time.Hour), LastAt: ago(5 * time.Hour), LastAuthor: p["tomas"], People: crowd("tomas", "jonas")},
		{ID: "06", Title: "Notes from a reconnect storm: 20,000 sockets in ninety seconds", Excerpt: "We pulled the plug on one of three nodes at noon on purpose. Graphs, what the clients saw, and the one setting we changed afterwards.", Author: p["tomas"], Category: c[2], Comments: 33, Created: ago(3 * 24 * time.Hour), LastAt: ago(20 * time.Hour), LastAuthor: p["wang"], People: crowd("wang", "jonas", "ada", "mei")},
		{ID: "07", Title: "What are you reading this winter?", Excerpt: "Paper, screen or ears. I start: a history of the telegraph, and yes, the operators had chat rooms and nicknames in 1880.", Author: p["sam"], Category: c[4], Comments: 51, Created: ago(6 * 24 * time.Hour), LastAt: ago(28 * time.Hour), LastAuthor: p["priya"], People: crowd("priya", "mei", "liu")},
		{ID: "08", Title: "Closed: planned maintenance on Sunday", Excerpt: "Done, eleven minutes, nobody was disconnected for longer than two seconds. Thank you for your patience.", Author: p["tomas"], Category: c[0], Comments: 4, Locked: true, Created: ago(12 * 24 * time.Hour), LastAt: ago(10 * 24 * time.Hour), LastAuthor: p["mei"], People: crowd("mei")},
	}
}

const postHTML = template.HTML(`<p>I run forty dashboards from one topic. Thirty-nine of them sit on fibre; one is on hotel Wi-Fi and stalls for ten seconds at a time. What I would like to know before I put this in front of customers:</p>
<ol><li>Do the thirty-nine wait for the one?</li><li>Where do the messages of the slow one go while it sleeps?</li><li>What does <em>it</em> see when it wakes up?</li></ol>
<p>My topic is configured like this, which I copied from the guide and only half understand:</p>
<pre><code>live := parley.New(
    parley.WithTopic("quotes/#", parley.TopicSettings{History: 500}),
)</code></pre>
<p>For quotes I would be happy with <strong>only the latest value</strong>; for the order status next to it I need <a href="#">every single one</a>, in order.</p>
<blockquote><p>A queue without a bound is a memory leak that has not happened yet.</p></blockquote>`)

func comments() []web.Message {
	p := people()
	say := func(seq uint64, who, html string, at time.Duration) web.Message {
		return web.Message{Conversation: "c02", Seq: seq, ID: fmt.Sprint("m", seq), Author: p[who], HTML: template.HTML(html), Created: ago(at)}
	}
	list := []web.Message{
		say(13, "tomas", "<p>They never wait. Every connection has its own bounded queue, and the thirty-nine share one encoded frame; the slow one only fills its own.</p><p>What happens when that queue is full is a policy of the topic. For quotes you want <code>latest</code>: a newer value replaces the older one in the queue, so it wakes up to one message per symbol instead of ten thousand.</p>", 4*time.Hour+20*time.Minute),
		say(14, "wang", "<p>We do exactly this for 600 symbols. One thing to know: keep the key stable, otherwise nothing is ever replaced.</p>", 4*time.Hour),
		say(15, "jonas", "<p>That answers 1 and 2, thank you! And for the order status?</p>", 3*time.Hour+50*time.Minute),
		say(16, "ada", `<p><a class="mention" href="/u/jonas">@jonas</a> durable topic and a position. When it comes back it says “I had 4,211” and gets the rest in order, or is told clearly that it must reload.</p><ul><li>no gap, no duplicate</li><li>nothing kept per reader but a number</li></ul>`, 12*time.Minute),
		say(17, "priya", "<p>We measured this last week, see the graphs in my post about the seat map.</p>", 9*time.Minute),
		say(18, "ada", `<p>And if you want to see it happen: <code>SIGSTOP</code> the browser, count to thirty, <code>SIGCONT</code>.</p>`, 7*time.Minute),
	}
	list[2].Edited = true
	list[3].ReplyTo = &web.Quote{Seq: 15, Author: p["jonas"], Excerpt: "That answers 1 and 2, thank you! And for the order status?"}
	list[4].Deleted, list[4].HTML = true, ""
	return list
}

func lines(conversation string) []web.Message {
	p := people()
	seq := uint64(399)
	say := func(who, html string, at time.Duration) web.Message {
		seq++
		m := web.Message{Conversation: conversation, Seq: seq, ID: fmt.Sprint("l", seq), Author: p[who], HTML: template.HTML("<p>" + html + "</p>"), Body: html, Created: ago(at)}
		if who == "mei" {
			m.CanEdit, m.CanDelete = true, true
		}
		return m
	}
	list := []web.Message{
		say("tomas", "Morning! n2 is drained, I am restarting it with the new build.", 26*time.Hour),
		say("tomas", "Clients were told to come back within two seconds, let us see.", 26*time.Hour-40*time.Second),
		say("ada", "Not a single complaint on my side. The bar did not even show up.", 25*time.Hour+30*time.Minute),
		say("priya", "Same here 👍", 25*time.Hour+29*time.Minute),
		say("wang", "早上好！新版本的内存占用比之前低了大约 30%，空闲连接几乎不占资源。", 6*time.Hour),
		say("wang", "我把对比数据放到帖子里了。", 6*time.Hour-30*time.Second),
		say("mei", "Wonderful, thank you. I will link it from the announcement.", 5*time.Hour+55*time.Minute),
		say("jonas", `Question for the room: is anybody batching writes by time, or do you all trust the flush loop? My config still has <code>flush_every: 5ms</code> from the old days.`, 31*time.Minute),
		say("ada", `I removed it. <a class="mention" href="/u/meilin">@meilin</a> had measured both, no?`, 29*time.Minute),
		say("mei", "Yes. Under load the loop batches by itself, and when it is quiet the timer only adds delay.", 27*time.Minute),
		say("mei", "p50 went from 5.1 ms to 0.2 ms, same CPU. Numbers are in the tuning guide, second table.", 26*time.Minute+20*time.Second),
		say("jonas", "Sold. Removing it now.", 12*time.Minute),
		say("tomas", "Please keep the old value in a comment, so that we can compare on Monday.", 4*time.Minute),
		say("ada", "the flush loop wins by a mile", 2*time.Minute),
	}
	list[8].Mentions = []string{"u-mei"}
	list[9].ReplyTo = &web.Quote{Seq: 408, Author: p["ada"], Excerpt: "I removed it. @meilin had measured both, no?"}
	list[6].Edited = true
	return list
}

func notifications() []web.Notification {
	p := people()
	return []web.Notification{
		{ID: "n1", Kind: "mention", Actor: p["ada"], Title: "general", Excerpt: "I removed it. @meilin had measured both, no?", URL: "/chat/general#c408", Created: ago(29 * time.Minute)},
		{ID: "n2", Kind: "reply", Actor: p["priya"], Title: "Live seat map for a small theatre, 300 lines of Go", Excerpt: "The countdown is drawn by the client; the server only says when it ends.", URL: "/p/04#c9", Created: ago(2 * time.Hour)},
		{ID: "n3", Kind: "comment", Actor: p["sam"], Title: "Welcome: how this place works", Excerpt: "Hello from Nairobi! I build ticketing systems and came here for the reconnects.", URL: "/p/01#c42", Created: ago(3 * time.Hour)},
		{ID: "n4", Kind: "direct", Actor: p["wang"], Excerpt: "好的，明天见", URL: "/direct/d2", Created: ago(26 * time.Hour), Read: true},
		{ID: "n5", Kind: "comment", Actor: p["liu"], Title: "Welcome: how this place works", Excerpt: "大家好，我是刘洋，做物联网平台的。", URL: "/p/01#c41", Created: ago(5 * 24 * time.Hour), Read: true},
	}
}
