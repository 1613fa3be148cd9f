package web

import (
	"fmt"
	"html/template"
	"time"
)

// when draws a relative time that the modules keep fresh; its title is the full one.
func (s *Site) when(c catalogue, l *Layout, t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	return timeTag(t, "rel", c.ago(s.now(), t.In(l.Zone)), t.In(l.Zone).Format("2006-01-02 15:04"))
}

// clock draws hours and minutes in the reader's zone.
func clock(l *Layout, t time.Time) template.HTML {
	in := t.In(l.Zone)
	return timeTag(t, "clock", in.Format("15:04"), in.Format("2006-01-02 15:04:05"))
}

func timeTag(t time.Time, kind, text, title string) template.HTML {
	tag := `<time datetime="` + t.UTC().Format("2006-01-02T15:04:05Z") + `" data-time="` + kind + `" title="` + title + `">`
	return template.HTML(tag + template.HTMLEscapeString(text) + `</time>`) //nolint:gosec // every part is escaped or formatted here
}

// ago is the short form of how long ago t was: "now", "5m", "3h", "2d", then the date.
func (c catalogue) ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return c.text("time.now")
	case d < time.Hour:
		return c.text("time.minutes", "n", int(d.Minutes()))
	case d < 24*time.Hour:
		return c.text("time.hours", "n", int(d.Hours()))
	case d < 7*24*time.Hour:
		return c.text("time.days", "n", int(d.Hours()/24))
	case t.Year() == now.In(t.Location()).Year():
		return c.text("time.date", "d", t.Day(), "m", c.text(fmt.Sprintf("month.%d", t.Month())))
	default:
		return date(c, t)
	}
}

func date(c catalogue, t time.Time) string {
	return c.text("time.full", "d", t.Day(), "m", c.text(fmt.Sprintf("month.%d", t.Month())), "y", t.Year())
}

// day names the day of a separator: today, yesterday or the date.
func (c catalogue) day(now, t time.Time) string {
	y, m, d := t.Date()
	start := time.Date(y, m, d, 0, 0, 0, 0, t.Location())
	switch n := now.In(t.Location()); {
	case n.Before(start.AddDate(0, 0, 1)):
		return c.text("time.today")
	case n.Before(start.AddDate(0, 0, 2)):
		return c.text("time.yesterday")
	default:
		return date(c, t)
	}
}

// groupWithin is how close two lines of one author stand to be drawn under one name.
const groupWithin = 5 * time.Minute

// row is a message with what stands around it in a list.
type row struct {
	Message
	Day     string // separator above, or ""
	DayISO  string
	Divider bool // the "new" divider stands above
	Grouped bool // same author as the row above, close in time
	Own     bool
	Named   bool // mentions the reader
	Tick    *tick
}

// rows decides separators and groups; static/js/thread.js does the same for live rows.
func (s *Site) rows(c catalogue, l *Layout, t Thread) []row {
	out := make([]row, 0, len(t.Messages))
	var prev *row
	for _, m := range t.Messages {
		r := row{Message: m}
		at := m.Created.In(l.Zone)
		r.DayISO = at.Format("2006-01-02")
		if prev == nil || prev.DayISO != r.DayISO {
			r.Day = c.day(s.now(), at)
		}
		if l.User != nil {
			r.Own = m.Author.ID == l.User.ID
			for _, id := range m.Mentions {
				r.Named = r.Named || id == l.User.ID
			}
		}
		r.Tick = t.Receipts.tick(c, r)
		before := uint64(0)
		if prev != nil {
			before = prev.Seq
		}
		r.Divider = m.Seq > t.ReadSeq && before <= t.ReadSeq && t.ReadSeq > 0 && !r.Own
		r.Grouped = prev != nil && r.Day == "" && !r.Divider && m.ReplyTo == nil && !prev.Deleted && !m.Deleted &&
			prev.Author.ID == m.Author.ID && m.Created.Sub(prev.Created) < groupWithin
		out = append(out, r)
		prev = &out[len(out)-1]
	}
	return out
}
