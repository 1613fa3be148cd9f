package bench

import (
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	for _, s := range []Scenario{Idle, Fanout, OneToOne, Slow, Storm, Resume, Soak} {
		o := Defaults(s)
		for _, url := range []string{"ws://127.0.0.1:8080/ws", "ws://localhost", "http://[::1]:80", "wss://127.1.2.3"} {
			if o.URL = url; o.Validate() != nil {
				t.Errorf("%s at %s: %v", s, url, o.Validate())
			}
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Options){
		"--url \"\"":                  func(o *Options) { o.URL = "" },
		"begins with ws://":           func(o *Options) { o.URL = "ftp://localhost/x" },
		"--yes-this-is-mine":          func(o *Options) { o.URL = "ws://chat.example.com/ws" },
		"192.0.2.1 is not":            func(o *Options) { o.URL = "ws://192.0.2.1/ws" },
		"localhost.example.com is":    func(o *Options) { o.URL = "ws://localhost.example.com/ws" },
		"--connections 0":             func(o *Options) { o.Connections = 0 },
		"--connections 10000000":      func(o *Options) { o.Connections = 10_000_000 },
		"--size 3":                    func(o *Options) { o.Size = 3 },
		"--in-flight 0":               func(o *Options) { o.InFlight = 0 },
		"--workers 0":                 func(o *Options) { o.Workers = 0 },
		"--rate -1":                   func(o *Options) { o.Rate = -1 },
		"--topics 2000":               func(o *Options) { o.Topics = 2000 },
		"--timeout is at least":       func(o *Options) { o.Timeout = 0 },
		"no scenario":                 func(o *Options) { o.Scenario = "flood" },
		"at least one has to be":      func(o *Options) { o.Messages = 0 },
		"a soak needs":                func(o *Options) { o.Scenario, o.Duration = Soak, 0 },
		"resume needs a --rate":       func(o *Options) { *o = Defaults(Resume); o.URL, o.Returns = "ws://127.0.0.1", 0 },
		"more --sessions than":        func(o *Options) { *o = Defaults(Resume); o.URL, o.Topics = "ws://127.0.0.1", o.Connections },
		"has no sessions to resume":   func(o *Options) { *o = Defaults(Resume); o.URL, o.Protocol, o.Topics = "ws://127.0.0.1", "raw", 1 },
		"a storm needs":               func(o *Options) { o.Scenario, o.Messages = Storm, 1 },
		"--protocol \"mqtt\"":         func(o *Options) { o.Protocol = "mqtt" },
		"such a server has none":      func(o *Options) { o.Protocol, o.Topics = "raw", 2 },
		"an echo can idle and":        func(o *Options) { o.Protocol = "echo" },
		"--slow 0 of":                 func(o *Options) { *o = slowly(*o); o.Slow = 0 },
		"--slow 300 of":               func(o *Options) { *o = slowly(*o); o.Slow = o.Connections },
		"slow needs a --rate":         func(o *Options) { *o = slowly(*o); o.Rate = 0 },
		"a --slow-rate of at least 1": func(o *Options) { *o = slowly(*o); o.SlowRate = 0 },
		"one of --rounds":             func(o *Options) { *o = slowly(*o); o.Rounds = 0 },
		"no negative --tolerance":     func(o *Options) { *o = slowly(*o); o.Tolerance = -1 },
		"--queue-bytes -1":            func(o *Options) { *o = slowly(*o); o.QueueBytes = -1 },
		"one receiver each":           func(o *Options) { o.Scenario = OneToOne },
		"and no time is negative":     func(o *Options) { o.Hold = -time.Second },
		"--topics 0: from 1 to 20000": func(o *Options) { o.Topics = 0 },
	} {
		o := Defaults(Fanout)
		o.URL = "ws://127.0.0.1:8080/ws"
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	o := Defaults(Fanout)
	o.URL, o.Mine = "wss://chat.example.com", true
	if u, err := o.target(); err != nil || u.String() != "wss://chat.example.com/ws" {
		t.Errorf("%v %v", u, err)
	}
}

func slowly(o Options) Options {
	s := Defaults(Slow)
	s.URL = o.URL
	return s
}

// What the slow do to the others, and what they take, is judged by the rounds in
// the middle.
func TestCompared(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		with    []float64 // milliseconds of the rounds; without it is always 10
		grown   int64     // bytes
		problem string
	}{
		"nobody notices":        {[]float64{10, 10.2, 10.4}, 1 << 20, ""},
		"one busy round":        {[]float64{10, 10, 90}, 0, ""},
		"everybody waits":       {[]float64{10, 12, 12}, 0, "the p99 of the others is 1.20 times"},
		"more than its queues":  {[]float64{10}, 40 << 20, "the slow ones took 40960 KB"},
		"nothing was delivered": {nil, 0, ""},
	} {
		o := slowly(Options{})
		r := &run{o: o, report: &Report{}}
		without, with := newSide(), newSide()
		without.p50s, without.p99s, without.rss = []float64{5}, []float64{10}, 50<<20
		with.p50s, with.p99s, with.rss = c.with, c.with, 50<<20+c.grown
		s := r.compared(without, with)
		found := strings.Join(r.report.Problems, "; ")
		if (c.problem == "") != (found == "") || !strings.Contains(found, c.problem) || s.Configured != 3<<10 {
			t.Errorf("%s: %q, %+v", name, found, s)
		}
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	f := figures{ended: map[string]int64{}}
	for name, n := range map[string]float64{
		"go_goroutines": 17, "go_threads": 9, "parley_connections": 3, "parley_sessions_detached": 4, `parley_messages_skipped_total{policy="sample"}`: 5,
		`parley_messages_skipped_total{policy="drop-oldest"}`: 6, `parley_connections_ended_total{reason="slow_consumer"}`: 7,
	} {
		f.take(name, n)
	}
	if f.goroutines != 17 || f.sessions != 7 || f.skipped != 11 || len(f.ended) != 1 || f.ended["slow_consumer"] != 7 {
		t.Errorf("%+v", f)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	o := Options{Tokens: []string{"a", "b"}}
	if o.token(0) != "a" || o.token(3) != "b" || (Options{}).token(5) != "" {
		t.Error("the wrong token")
	}
}

// A soak is flat when the last third holds no more than the second.
func TestJudge(t *testing.T) {
	t.Parallel()
	const kept = 10 // seconds
	for name, c := range map[string]struct {
		rss      func(i int) int64
		sessions func(i int) int
		n        int
		flat     string
	}{
		"flat":                   {func(int) int64 { return 100_000 }, nil, 30, "true"},
		"warming up":             {func(i int) int64 { return 50_000 + 10_000*int64(min(i, 9)) }, nil, 30, "true"},
		"growing":                {func(i int) int64 { return 50_000 + 4_000*int64(i) }, nil, 30, "false"},
		"little, noisily":        {func(i int) int64 { return 50_000 + 2_000*int64(i%3) }, nil, 30, "true"},
		"too short":              {func(int) int64 { return 1 }, nil, 8, "nil"},
		"sessions that never go": {func(int) int64 { return 1 }, func(i int) int { return 20 * i }, 60, "false"},
		"sessions that go":       {func(int) int64 { return 1 }, func(i int) int { return 20 * min(i, kept) }, 60, "true"},
		"sessions not yet gone":  {func(int) int64 { return 1 }, func(i int) int { return 20 * i }, 24, "true"},
	} {
		r, s := &run{o: Options{ResumeWindow: kept * time.Second}, report: &Report{}}, &SoakReport{}
		for i := range c.n {
			m := Moment{Second: float64(i), RSS: c.rss(i), Descriptors: 100}
			if c.sessions != nil {
				m.Sessions = c.sessions(i)
			}
			s.Samples = append(s.Samples, m)
		}
		r.judge(s)
		got := "nil"
		if s.Flat != nil {
			got = map[bool]string{true: "true", false: "false"}[*s.Flat]
		}
		if got != c.flat || (got == "false") != r.report.Failed() {
			t.Errorf("%s: flat %s, problems %q", name, got, r.report.Problems)
		}
	}
}
