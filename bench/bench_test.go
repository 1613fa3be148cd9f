package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/bench"
	fan "github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/server"
	"github.com/parleyhq/parley/server/config"
	"github.com/parleyhq/parley/server/datadir"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

// parley starts a real server and returns what points a load at it.
func parley(t *testing.T, o bench.Options) bench.Options {
	t.Helper()
	return parleyWith(t, o, func(*config.Config) {})
}

func parleyWith(t *testing.T, o bench.Options, set func(*config.Config)) bench.Options {
	t.Helper()
	cfg := config.Defaults()
	cfg.Addr, cfg.Data, cfg.Node, cfg.Community = "127.0.0.1:0", filepath.Join(t.TempDir(), "data"), "n1", false
	set(&cfg)
	s, err := server.Open(t.Context(), cfg, server.Options{Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, context.Background()) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	o.URL, o.Settle, o.Timeout = "ws://"+s.Addr().String()+"/ws", 0, 5*time.Second
	dir, err := datadir.Open(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := server.TokenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range o.Connections + 1 {
		token, err := key.Sign(auth.Identity{User: fmt.Sprintf("u%d", i), Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		o.Tokens = append(o.Tokens, token)
	}
	return o
}

func run(t *testing.T, o bench.Options) *bench.Report {
	t.Helper()
	r, err := bench.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func flawless(t *testing.T, r *bench.Report) {
	t.Helper()
	if r.Failed() || r.Interrupted {
		t.Errorf("faults %+v, problems %q", r.Faults, r.Problems)
	}
	if text := r.Table(); !strings.Contains(text, "lost, doubled, disordered  none") {
		t.Errorf("%s", text)
	}
}

func small(s bench.Scenario, connections, topics, messages int) bench.Options {
	o := bench.Defaults(s)
	o.Connections, o.Topics, o.Messages = connections, topics, messages
	return o
}

func TestIdle(t *testing.T) {
	o := parley(t, small(bench.Idle, 100, 3, 0))
	o.Hold = 200 * time.Millisecond
	var progress bytes.Buffer
	o.Progress = &progress
	r := run(t, o)
	flawless(t, r)
	if r.Connect.Connections != 100 || r.Connect.Latency.Count != 100 || r.Idle.Seconds < 0.2 {
		t.Errorf("%+v %+v", r.Connect, r.Idle)
	}
	if !strings.Contains(progress.String(), "connecting: 100 of 100 (100 %)") {
		t.Errorf("%s", &progress)
	}
}

func TestFanout(t *testing.T) {
	for _, portable := range []bool{false, true} {
		t.Run(fmt.Sprintf("portable %v", portable), func(t *testing.T) {
			o := parley(t, small(bench.Fanout, 100, 2, 60))
			o.InFlight, o.Portable = 4, portable
			r := run(t, o)
			flawless(t, r)
			if m := r.Messages; m.Published != 60 || m.Deliveries != 60*50 || m.Expected != m.Deliveries || m.Latency.Count != m.Deliveries || m.Bytes < 128 {
				t.Errorf("%+v", r.Messages)
			}
		})
	}
}

func TestFanoutAtARate(t *testing.T) {
	o := parley(t, small(bench.Fanout, 20, 1, 50))
	o.Rate = 200
	r := run(t, o)
	flawless(t, r)
	if m := r.Messages; m.Deliveries != 1000 || m.Seconds < 0.24 {
		t.Errorf("%+v", m)
	}
}

func TestOneToOne(t *testing.T) {
	r := run(t, parley(t, small(bench.OneToOne, 100, 100, 1000)))
	flawless(t, r)
	if r.Messages.Deliveries != 1000 {
		t.Errorf("%+v", r.Messages)
	}
}

// Within a round the slow are sent more than their queue and the system itself
// hold, so they are cut; they come back, and nobody else notices.
func TestSlow(t *testing.T) {
	o := parley(t, small(bench.Slow, 6, 1, 120))
	o.Slow, o.Rounds, o.Rate, o.Size, o.Tolerance = 2, 1, 40, 60_000, 0
	r := run(t, o)
	flawless(t, r)
	s := r.Slow
	if m := r.Messages; m.Published != 240 || m.Deliveries != 240*4 || m.Expected != m.Deliveries || s.With.Count != 120*4 || s.Without.Count != s.With.Count {
		t.Errorf("%+v %+v", m, s)
	}
	if s.ServerEnded["slow_consumer"] < 2 || s.SlowGot < 300 || s.SlowGot > 2000 || s.RatioP99 == 0 {
		t.Errorf("%+v", s)
	}
	if text := r.Table(); !strings.Contains(text, "× slow_consumer") || !strings.Contains(text, "4 that keep up, 2 that take 1024 bytes a second") {
		t.Errorf("%s", text)
	}
}

// A topic that need not send all tells the slow what it left out.
func TestSlowSkips(t *testing.T) {
	o := parleyWith(t, small(bench.Slow, 4, 1, 120), func(c *config.Config) {
		c.Limits.QueueBytes = 4 << 20 // so that the others have time on a machine that is busy with other tests
		c.Topics = []config.Topic{{Pattern: "public/#", Pressure: fan.PressureDropOldest}}
	})
	o.Slow, o.Rounds, o.Rate, o.Size, o.Tolerance = 1, 1, 40, 60_000, 0
	r := run(t, o)
	flawless(t, r)
	if r.Slow.Skipped == 0 || len(r.Slow.ServerEnded) > 0 {
		t.Errorf("%+v", r.Slow)
	}
}

// A server that writes to one after the other has all wait for the slow one.
func TestSlowIsNoticed(t *testing.T) {
	o := small(bench.Slow, 10, 1, 120)
	o.Slow, o.Rounds, o.Rate, o.Size, o.Timeout = 1, 1, 60, 60_000, time.Second
	o.URL, o.Protocol, o.Settle = raw(t, false, unspoiled), "raw", 0
	if r := run(t, o); !r.Failed() || len(r.Problems) == 0 {
		t.Errorf("%s", r.Table())
	}
}

func TestStorm(t *testing.T) {
	for _, portable := range []bool{false, true} {
		o := parley(t, small(bench.Storm, 120, 4, 100))
		o.Portable = portable
		r := run(t, o)
		flawless(t, r)
		if s := r.Storm; s.Dropped != 120 || s.Returned != 120 || s.Missed != 60*30 || s.CaughtUpSeconds < s.BackSeconds {
			t.Errorf("%+v", s)
		}
	}
}

func TestResume(t *testing.T) {
	for _, portable := range []bool{false, true} {
		o := parley(t, small(bench.Resume, 60, 4, 120))
		o.Portable, o.Returns = portable, 500
		r := run(t, o)
		flawless(t, r)
		s := r.Resume
		if s.Delivered != 60*120 || s.Sessions != 56 || s.Returned != 56 || s.Missed != 56*120 {
			t.Errorf("%+v", s)
		}
		if s.CaughtUp.Count != 56 || s.CaughtUp.P50 < s.Latency.P50/2 || s.CaughtUpSeconds < 55./500 {
			t.Errorf("%+v", s)
		}
	}
}

// Who gets less than it missed is not caught up, and that is told.
func TestResumeOfTopicsThatKeepTooLittle(t *testing.T) {
	o := parleyWith(t, small(bench.Resume, 10, 2, 30), func(c *config.Config) {
		c.Topics = []config.Topic{{Pattern: "public/durable/#", History: 10, HistoryAge: time.Hour, Durable: true}}
	})
	o.Timeout = time.Second
	if r := run(t, o); !r.Failed() || r.Faults.Gaps == 0 || r.Faults.Lost == 0 {
		t.Errorf("%s", r.Table())
	}
}

func TestSoak(t *testing.T) {
	o := parley(t, small(bench.Soak, 30, 3, 0))
	o.Duration, o.Churn, o.Rate = 2*time.Second, 40, 100
	r := run(t, o)
	flawless(t, r)
	if r.Soak.Replaced < 30 || r.Messages.Published < 150 {
		t.Errorf("%+v %+v", r.Soak, r.Messages)
	}
}

// A run that is interrupted tells what it has.
func TestInterrupted(t *testing.T) {
	o := parley(t, small(bench.Fanout, 20, 1, 1_000_000))
	ctx, stop := context.WithCancel(t.Context())
	seen := &stopAt{text: "delivered", stop: stop}
	o.Progress, o.Terminal = seen, true
	r, err := bench.Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Interrupted || r.Failed() || r.Messages.Published == 0 || r.Messages.Deliveries != r.Messages.Expected {
		t.Errorf("%+v %+v %q", r.Messages, r.Faults, r.Problems)
	}
}

// stopAt ends something as soon as a text is written.
type stopAt struct {
	text string
	stop func()
}

func (s *stopAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(s.text)) {
		s.stop()
	}
	return len(p), nil
}

func TestRefused(t *testing.T) {
	o := parley(t, small(bench.Fanout, 10, 1, 10))
	_, err := bench.Run(t.Context(), func(o bench.Options) bench.Options { o.Tokens = []string{"nonsense"}; return o }(o))
	if err == nil || !strings.Contains(err.Error(), "no connection came up") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a bad token: %v", err)
	}
	o.Prefix = "private"
	if _, err = bench.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "subscribing to private/") {
		t.Errorf("a topic that is not allowed: %v", err)
	}
	o.PID = 1 << 30
	if _, err = bench.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no process") {
		t.Errorf("a process that is not there: %v", err)
	}
}

// hub is a raw server; spoil decides what becomes of each message.
type hub struct {
	echo  bool
	spoil func(message []byte) [][]byte

	mu    sync.Mutex
	conns map[io.ReadWriter]bool
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock() // before the client knows that it is in: what another sends next must find it here
	conn, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		h.mu.Unlock()
		return
	}
	defer conn.Close()
	h.conns[conn] = true
	h.mu.Unlock()
	for {
		text, _, err := wsutil.ReadClientData(conn)
		h.mu.Lock()
		if err != nil {
			delete(h.conns, conn)
			h.mu.Unlock()
			return
		}
		for _, m := range h.spoil(text) {
			for c := range h.conns {
				if !h.echo || c == io.ReadWriter(conn) {
					_ = wsutil.WriteServerText(c, m) // it leaves by itself
				}
			}
		}
		h.mu.Unlock()
	}
}

func raw(t *testing.T, echo bool, spoil func([]byte) [][]byte) string {
	t.Helper()
	s := httptest.NewServer(&hub{echo: echo, spoil: spoil, conns: map[io.ReadWriter]bool{}})
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func unspoiled(m []byte) [][]byte { return [][]byte{m} }

func TestRaw(t *testing.T) {
	for _, s := range []bench.Scenario{bench.Idle, bench.Fanout, bench.Storm} {
		o := small(s, 50, 1, 50)
		o.URL, o.Protocol, o.Settle, o.Hold = raw(t, false, unspoiled), "raw", 0, 0
		flawless(t, run(t, o))
	}
	o := small(bench.OneToOne, 50, 50, 500)
	o.URL, o.Protocol, o.Settle = raw(t, true, unspoiled), "echo", 0
	r := run(t, o)
	flawless(t, r)
	if r.Messages.Deliveries != 500 {
		t.Errorf("%+v", r.Messages)
	}
}

// A server that does not do what it should is found out.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(n int, message []byte, held *[]byte) [][]byte
		found func(r *bench.Report) bool
	}{
		"loses": {func(n int, m []byte, _ *[]byte) [][]byte {
			if n == 30 {
				return nil
			}
			return [][]byte{m}
		}, func(r *bench.Report) bool { return r.Faults.Lost == 5 && r.Faults.Doubled+r.Faults.Disordered == 0 }},
		"doubles": {func(n int, m []byte, _ *[]byte) [][]byte {
			if n == 30 {
				return [][]byte{m, m}
			}
			return [][]byte{m}
		}, func(r *bench.Report) bool { return r.Faults.Doubled == 5 && r.Faults.Lost+r.Faults.Disordered == 0 }},
		"swaps": {func(n int, m []byte, held *[]byte) [][]byte {
			if n == 30 {
				*held = bytes.Clone(m)
				return nil
			}
			if n == 31 {
				return [][]byte{m, *held}
			}
			return [][]byte{m}
		}, func(r *bench.Report) bool { return r.Faults.Disordered == 5 && r.Faults.Lost+r.Faults.Doubled == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			var n int
			var held []byte
			o := small(bench.Fanout, 5, 1, 50)
			o.URL = raw(t, false, func(m []byte) [][]byte { n++; return c.spoil(n, m, &held) })
			o.Protocol, o.Settle, o.InFlight, o.Timeout = "raw", 0, 4, time.Second
			r := run(t, o)
			if !r.Failed() || !c.found(r) || !strings.Contains(r.Table(), "FAULTS") {
				t.Errorf("%+v\n%s", r.Faults, r.Table())
			}
		})
	}
}

// A server that dies is noticed at once, and what it owed is lost.
func TestServerDies(t *testing.T) {
	o := small(bench.Fanout, 10, 1, 100)
	n, s := 0, httptest.NewUnstartedServer(nil)
	h := &hub{conns: map[io.ReadWriter]bool{}}
	h.spoil = func(m []byte) [][]byte {
		if n++; n > 30 {
			for c := range h.conns {
				if conn, ok := c.(net.Conn); ok {
					_ = conn.Close() // nobody reads it any more
				}
			}
			return nil
		}
		return [][]byte{m}
	}
	s.Config.Handler = h
	s.Start()
	t.Cleanup(s.Close)
	o.URL, o.Protocol, o.Settle, o.Timeout = "ws"+strings.TrimPrefix(s.URL, "http"), "raw", 0, time.Minute
	r := run(t, o)
	if r.Faults.Closed != 10 || r.Faults.Lost < 10 || r.Messages == nil || len(r.Problems) == 0 || r.Seconds > 10 {
		t.Errorf("%+v %q in %v s", r.Faults, r.Problems, r.Seconds)
	}
}
