package bench

import (
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	for _, s := range []Scenario{Idle, Fanout, OneToOne, Storm, Soak} {
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
		"a storm needs":               func(o *Options) { o.Scenario, o.Messages = Storm, 1 },
		"--protocol \"mqtt\"":         func(o *Options) { o.Protocol = "mqtt" },
		"such a server has none":      func(o *Options) { o.Protocol, o.Topics = "raw", 2 },
		"an echo can idle and":        func(o *Options) { o.Protocol = "echo" },
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
	for name, c := range map[string]struct {
		rss  func(i int) int64
		n    int
		flat string
	}{
		"flat":            {func(int) int64 { return 100_000 }, 30, "true"},
		"warming up":      {func(i int) int64 { return 50_000 + 10_000*int64(min(i, 9)) }, 30, "true"},
		"growing":         {func(i int) int64 { return 50_000 + 4_000*int64(i) }, 30, "false"},
		"little, noisily": {func(i int) int64 { return 50_000 + 2_000*int64(i%3) }, 30, "true"},
		"too short":       {func(int) int64 { return 1 }, 8, "nil"},
	} {
		r, s := &run{report: &Report{}}, &SoakReport{}
		for i := range c.n {
			s.Samples = append(s.Samples, Moment{RSS: c.rss(i), Descriptors: 100})
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
