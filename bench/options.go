// Package bench is `parley bench`: load from outside on a Parley, or on a raw
// WebSocket server to compare with, and a report of what it cost the server and
// whether a single message was lost, doubled or out of order.
package bench

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/bench/swarm"
)

// Scenario is what is done to the server.
type Scenario string

// The scenarios.
const (
	Idle     Scenario = "idle"       // connections that do nothing
	Fanout   Scenario = "fanout"     // few topics, many receivers each
	OneToOne Scenario = "one-to-one" // many topics, one receiver each
	Slow     Scenario = "slow"       // some receivers do not keep up
	Storm    Scenario = "storm"      // everybody drops and comes back
	Resume   Scenario = "resume"     // sessions catch up with what was said without them
	Soak     Scenario = "soak"       // a long time of coming and going
)

// Options are what to do, to which server, and how much of it. Defaults fills
// in what is zero.
type Options struct {
	Scenario Scenario
	URL      string // of the WebSocket endpoint
	Mine     bool   // the server may be loaded though it is not on this machine
	Protocol swarm.Protocol
	Tokens   []string // client i uses the i-th, from the start again after the last
	PID      int      // the server's process; 0: unknown
	Portable bool     // a goroutine per connection, as where there is no epoll

	Connections int
	Topics      int
	Prefix      string // of topics, before a name of this run's own
	Messages    int    // that are published
	InFlight    int    // published and not yet with all their receivers
	Rate        float64
	Size        int // of a payload, in bytes
	Workers     int // dials at once
	Churn       int // connections that are replaced in a second of a soak
	// Returns is how many sessions come back in a second of a resume; Messages
	// are those of each topic then.
	Returns float64

	Slow       int     // of the connections, those that are slow
	SlowRate   int     // bytes a second that a slow one takes
	Rounds     int     // of each kind, without the slow and with them
	Tolerance  float64 // percent by which the slow may worsen the p99 of the others; 0: any
	QueueBytes int     // what the server may hold for one connection, by its settings

	Settle   time.Duration // before memory is read
	Hold     time.Duration // for which connections idle
	Duration time.Duration // of a soak
	// ResumeWindow is how long the server keeps sessions without a connection.
	ResumeWindow time.Duration
	Timeout      time.Duration // of one connect; and of silence before messages count as lost

	Progress io.Writer // nil: none
	Terminal bool      // Progress is one
}

// Bounds of one run: more is a mistake of the hand, or a job for several
// machines.
const (
	maxConnections = 200_000
	maxMessages    = 10_000_000
	maxInFlight    = 100_000
	maxSize        = 1 << 20
	maxWorkers     = 1024
	maxRounds      = 1000
	maxQueue       = 1 << 30
	maxDuration    = 7 * 24 * time.Hour
)

// Defaults returns what a scenario does when nothing is said.
func Defaults(s Scenario) Options {
	o := Options{
		Scenario: s, Protocol: swarm.Parley, Prefix: "public/bench",
		Connections: 1000, Topics: 1, Messages: 200, InFlight: 1, Size: 128, Workers: 64,
		Settle: 2 * time.Second, Timeout: 15 * time.Second, QueueBytes: 1 << 20, ResumeWindow: 2 * time.Minute,
	}
	switch s {
	case Idle:
		o.Messages, o.Hold = 0, 3*time.Second
	case Fanout:
	case OneToOne:
		o.Topics, o.Messages, o.InFlight = o.Connections, 20_000, 64
	case Storm:
		o.Topics, o.Messages = 10, 200
	case Slow:
		// Enough for each that what the system itself holds for a slow one is full within a round: some megabytes.
		o.Connections, o.Messages, o.Rate, o.Size = 300, 600, 40, 16384
		o.Slow, o.SlowRate, o.Rounds, o.Tolerance = 3, 1024, 4, 5
	case Resume:
		o.Prefix = "public/durable/bench"
		o.Connections, o.Topics, o.Messages, o.Workers, o.Returns = 10_000, 10, 100, 256, 1000
	case Soak:
		o.Connections, o.Topics, o.Messages = 200, 10, 0
		o.Rate, o.Churn, o.Duration = 50, 10, time.Minute
	}
	return o
}

// Validate tells what of the options cannot be done, all of it at once.
func (o Options) Validate() error {
	_, err := o.target()
	errs := []error{err}
	bound := func(flag string, value, least, most int) {
		if value < least || value > most {
			errs = append(errs, fmt.Errorf("--%s %d: from %d to %d", flag, value, least, most))
		}
	}
	bound("connections", o.Connections, 1, maxConnections)
	bound("topics", o.Topics, 1, maxConnections)
	bound("messages", o.Messages, 0, maxMessages)
	bound("in-flight", o.InFlight, 1, maxInFlight)
	bound("size", o.Size, swarm.MinSize, maxSize)
	bound("workers", o.Workers, 1, maxWorkers)
	bound("churn", o.Churn, 0, maxConnections)
	bound("rounds", o.Rounds, 0, maxRounds)
	bound("queue-bytes", o.QueueBytes, 0, maxQueue)
	if o.Rate < 0 || o.Rate > 1e6 {
		errs = append(errs, fmt.Errorf("--rate %v: messages a second, from 0 (as fast as they arrive) to a million", o.Rate))
	}
	if o.Topics > o.Connections {
		errs = append(errs, fmt.Errorf("--topics %d with --connections %d: every topic needs a receiver", o.Topics, o.Connections))
	}
	if o.Timeout < time.Second || o.Duration > maxDuration || min(o.Duration, o.Settle, o.Hold) < 0 {
		errs = append(errs, fmt.Errorf("--timeout is at least 1s, --duration at most %v, and no time is negative", maxDuration))
	}
	return errors.Join(append(errs, o.fits(), o.scenario())...)
}

// scenario checks what depends on the scenario.
func (o Options) scenario() error {
	known := []Scenario{Idle, Fanout, OneToOne, Slow, Storm, Resume, Soak}
	switch {
	case !slices.Contains(known, o.Scenario):
		return fmt.Errorf("there is no scenario %q: use one of %v", o.Scenario, known)
	case o.Scenario == Soak && (o.Duration < time.Second || o.Rate == 0):
		return errors.New("a soak needs a --duration of at least 1s and a --rate")
	case o.Scenario == Slow && (o.Slow < 1 || o.Slow > o.Connections-o.Topics):
		return fmt.Errorf("--slow %d of --connections %d: one at least, and one that keeps up for every topic", o.Slow, o.Connections)
	case o.Scenario == Slow && (o.SlowRate < 1 || o.Rate == 0 || o.Rounds < 1 || o.Tolerance < 0):
		return errors.New("slow needs a --rate, a --slow-rate of at least 1 byte a second, at least one of --rounds, and no negative --tolerance")
	case o.Scenario == Storm && o.Messages < 2:
		return errors.New("a storm needs at least 2 --messages: some before it, the rest while everybody is away")
	case o.Scenario == Resume && (o.Returns <= 0 || o.Returns > 1e6 || o.Connections <= o.Topics):
		return errors.New("resume needs a --rate above 0, at most a million, and more --sessions than --topics")
	case o.Scenario == OneToOne && o.Topics != o.Connections:
		return fmt.Errorf("one-to-one with %d topics and %d connections: one receiver each, so as many", o.Topics, o.Connections)
	case (o.Scenario == Fanout || o.Scenario == OneToOne || o.Scenario == Slow || o.Scenario == Resume) && o.Messages == 0:
		return errors.New("--messages 0: at least one has to be published")
	}
	return nil
}

// fits checks what a raw server can do.
func (o Options) fits() error {
	switch o.Protocol {
	case swarm.Parley:
		return nil
	case swarm.Broadcast:
		if o.Scenario == Resume {
			return fmt.Errorf("--protocol %s: such a server has no sessions to resume", o.Protocol)
		}
		if o.Topics > 1 {
			return fmt.Errorf("--protocol %s with %d topics: such a server has none, what one says goes to all (use --topics 1)", o.Protocol, o.Topics)
		}
	case swarm.Echo:
		if o.Scenario != Idle && o.Scenario != OneToOne {
			return fmt.Errorf("--protocol %s: an echo can idle and do one-to-one", o.Protocol)
		}
	default:
		return fmt.Errorf("--protocol %q: parley, raw (what one sends all receive) or echo", o.Protocol)
	}
	return nil
}

// target is the server's address, when it may be loaded.
func (o Options) target() (*url.URL, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("--url %q: an address such as ws://127.0.0.1:8080/ws", o.URL)
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return nil, fmt.Errorf("--url %s: it begins with ws:// or wss://", o.URL)
	}
	if u.Path = cmp.Or(strings.TrimSuffix(u.Path, "/"), "/ws"); !o.Mine && !local(u.Hostname()) {
		return nil, fmt.Errorf("%s is not this machine: load on somebody else's server is an attack; "+
			"if it is yours to load, say so with --yes-this-is-mine", u.Hostname())
	}
	return u, nil
}

// local tells whether a host is this machine by its very name.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// qos is the quality of service of the subscriptions.
func (o Options) qos() uint32 {
	if o.Scenario == Resume {
		return 1
	}
	return 0
}

// token is what client i signs in with.
func (o Options) token(i int) string {
	if len(o.Tokens) == 0 {
		return ""
	}
	return o.Tokens[i%len(o.Tokens)]
}
