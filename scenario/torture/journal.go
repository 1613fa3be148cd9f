// Package torture runs real processes, kills them at random moments and asks a
// checker that knows only what clients saw whether a promise was broken.
//
// Every client writes a journal: what it tried, what was acknowledged, what it
// got. A line is one write, so what a killed client saw is there. The checker
// reads nothing else: neither the server's files nor its opinion.
package torture

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Kind is what an entry of a journal says.
type Kind string

// The kinds of entries.
const (
	// Begun: a process of this client has begun. What was under way in an
	// earlier one may come again.
	Begun Kind = "begun"
	// Cut: the connection ended. An acknowledgement may be lost with it.
	Cut Kind = "cut"
	// Tried: Value is about to be published on Topic.
	Tried Kind = "tried"
	// Accepted: the server has acknowledged it at Seq.
	Accepted Kind = "accepted"
	// Refused: the server has said that it did not take it.
	Refused Kind = "refused"
	// Got: Value came on Topic at Seq, and its work was done with this line.
	Got Kind = "got"
	// Gap: the server said that messages of Topic are lost.
	Gap Kind = "gap"
)

// Entry is one line of a journal.
type Entry struct {
	Kind         Kind
	Topic, Epoch string
	Seq          uint64
	Value        string
}

// Journal is what one client saw over all of its lives.
type Journal struct {
	Client  string
	Promise Promise
	Entries []Entry
}

// Promise is what a client was promised.
type Promise string

// The promises.
const (
	Publisher   Promise = "publisher"     // numbered: each value stored at most once, in order
	Repeater    Promise = "repeater"      // publishes each value twice with one key
	AtLeastOnce Promise = "at-least-once" // QoS 1 with a session that outlives everything
	ExactlyOnce Promise = "exactly-once"  // QoS 2 with the position stored with the work
	Group       Promise = "group"         // a member of the one group there is
)

// Pen appends to a journal. A line is one write, which a killed process has
// either made or not. It may be used by several goroutines.
type Pen struct{ file *os.File }

// Open goes on with the journal at path.
func Open(path string) (*Pen, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &Pen{f}, err
}

// Write adds an entry.
func (p *Pen) Write(e Entry) error {
	_, err := fmt.Fprintf(p.file, "%s|%s|%s|%d|%s\n", e.Kind, e.Topic, e.Epoch, e.Seq, e.Value)
	return err
}

// Close closes the file.
func (p *Pen) Close() error { return p.file.Close() }

// Read returns the entries of the journal at path; none when there is no file.
func Read(path string) ([]Entry, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Entry
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole { // the process was killed while it wrote
			return out, nil
		}
		text = rest
		const fields = 5
		part := strings.SplitN(string(line), "|", fields)
		if len(part) != fields {
			return nil, fmt.Errorf("%s:%d: %q is no entry", path, n, line)
		}
		seq, err := strconv.ParseUint(part[3], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		out = append(out, Entry{Kind(part[0]), part[1], part[2], seq, part[4]})
	}
}
