package web

import (
	"strconv"
	"strings"
	"time"
)

// prepare fills what the templates rely on, so that a zero Layout draws.
func (l *Layout) prepare(s *Site) {
	l.site = s
	if _, ok := s.catalogues[l.Lang]; !ok {
		l.Lang = English
	}
	if !knownTheme(l.Theme) {
		l.Theme = "auto"
	}
	if l.Zone == nil {
		l.Zone = time.UTC
	}
	if l.Path == "" {
		l.Path = PathHome
	}
}

// SiteName is the community's name.
func (l *Layout) SiteName() string { return l.site.name }

// Self is the layout itself, for parts that need the reader's language and zone.
func (l *Layout) Self() *Layout { return l }

// At tells whether the reader is on the page of the given path.
func (l *Layout) At(path string) bool {
	here, _, _ := strings.Cut(l.Path, "?")
	return here == path
}

// In tells whether the reader is on that page or below it.
func (l *Layout) In(path string) bool {
	here, _, _ := strings.Cut(l.Path, "?")
	return here == path || strings.HasPrefix(here, path+"/")
}

// Boot is what the modules know at start, written into the page as JSON.
func (l *Layout) Boot() map[string]any {
	return map[string]any{
		"user": l.User, "live": l.LiveURL, "sdk": PathSDK, "csrf": l.CSRF,
		"lang": l.Lang, "i18n": l.site.assets.url("i18n/" + string(l.Lang) + ".json"),
		"icons": l.site.assets.url("icons.svg"), "feed": l.Feed, "unread": l.Unread,
		"rooms": roomStates(l.Rooms), "directs": roomStates(l.Directs),
	}
}

func roomStates(rooms []Room) []map[string]any {
	out := make([]map[string]any, 0, len(rooms))
	for _, r := range rooms {
		out = append(out, map[string]any{"id": r.ID, "kind": r.Kind, "joined": r.Joined, "unread": r.Unread, "last_seq": r.LastSeq})
	}
	return out
}

// Boot of a thread: what the live list needs besides its rows.
func (t Thread) Boot(kind string) map[string]any {
	return map[string]any{
		"kind": kind, "conversation": t.Conversation, "more": t.More, "read_seq": t.ReadSeq,
		"last_seq": t.LastSeq, "position": t.Position, "members": t.Members, "can_send": t.CanSend,
		"receipts": t.Receipts, "places": t.places(), "reach": t.reach(),
	}
}

// places are where the messages stand in the topic: pairs of a message's seq and the topic's, 0
// for what was said before the topic's present epoch. A message that is being published is not
// among them.
func (t Thread) places() [][2]uint64 {
	out := make([][2]uint64, 0, len(t.Messages))
	for _, m := range t.Messages {
		switch {
		case m.Place == nil || !t.Receipts.Live:
		case m.Place.Epoch == t.Position.Epoch:
			out = append(out, [2]uint64{m.Seq, m.Place.Seq})
		default:
			out = append(out, [2]uint64{m.Seq, 0})
		}
	}
	return out
}

// reach are the numbers of the reader's own messages, by seq.
func (t Thread) reach() map[uint64]*Reach {
	out := make(map[uint64]*Reach)
	for _, m := range t.Messages {
		if m.Reach != nil {
			out[m.Seq] = m.Reach
		}
	}
	return out
}

// Heading is the catalogue key that names the kind of failure.
func (p *ErrorPage) Heading() string {
	switch p.Status {
	case 400, 401, 403, 404, 409, 413, 429, 503:
		return "error." + strconv.Itoa(p.Status)
	default:
		return "error.500"
	}
}

// Explanation is Detail, or what usually helps with the status.
func (p *ErrorPage) Explanation() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Heading() + ".hint"
}
