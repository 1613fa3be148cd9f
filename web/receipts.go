package web

import "strings"

// mostReaders are named below a message; the others are counted.
const mostReaders = 5

// tick says how far an own message has got: State is "sent", "delivered" or "read".
type tick struct{ State, Icon, Text string }

// tick draws that of a row, nil where none belongs; static/js/receipts.js does the same for live
// rows.
func (r Receipts) tick(c catalogue, m row) *tick {
	if r.Told == "" || !m.Own || m.Deleted {
		return nil
	}
	var names []string
	delivered, read := 0, 0
	for _, p := range r.People {
		if p.Delivered >= m.Seq {
			delivered++
		}
		if p.Read >= m.Seq {
			names = append(names, p.Display)
		}
	}
	if m.Reach != nil {
		delivered, read = m.Reach.Delivered, m.Reach.Read
	}
	switch {
	case len(names) > 0:
		return &tick{"read", "checks", c.readBy(names)}
	case read > 0:
		return &tick{"read", "checks", c.text("n.read_by", "n", read)}
	case delivered > 0:
		return &tick{"delivered", "checks", c.text("message.delivered")}
	}
	return &tick{"sent", "check", c.text("message.sent")}
}

// readBy names readers, at most mostReaders.
func (c catalogue) readBy(names []string) string {
	few := names[:min(len(names), mostReaders)]
	text := strings.Join(few, c.text("list.comma"))
	if more := len(names) - len(few); more > 0 {
		return c.text("n.read_by_more", "names", text, "n", more)
	}
	return c.text("message.read_by", "names", text)
}
