package parley_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

func status(t *testing.T, url string, header http.Header) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	must(t, err)
	r.Header = header
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	var body struct {
		Ticket string `json:"ticket"`
		Error  struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_ = json.NewDecoder(resp.Body).Decode(&body) // what is not JSON has neither
	return resp.StatusCode, body.Ticket + body.Error.Code
}

func TestOneUseTickets(t *testing.T) {
	live := parley.New()
	s := parleytest.Serve(t, live, func(r *gin.Engine) {
		r.GET("/ticket", func(c *gin.Context) {
			if user := c.GetHeader("Who"); user != "" {
				parley.SetIdentity(c, parley.Identity{User: user})
			}
		}, live.TicketHandler())
		r.GET("/open", live.Handler())
	})
	if code, says := status(t, s.URL+"/ticket", nil); code != 401 || says != "unauthorized" {
		t.Errorf("a ticket for nobody: %d %s", code, says)
	}
	code, ticket := status(t, s.URL+"/ticket", http.Header{"Who": {"ada"}})
	if code != 200 || ticket == "" {
		t.Fatalf("%d %q", code, ticket)
	}
	c := parleytest.Open(t, s.WebSocketURL("/open?ticket="+ticket), nil)
	connect := &parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{}}}
	if r := c.Do(connect); r.GetConnected().GetUser() != "ada" {
		t.Errorf("got %v", r)
	}
	upgrade := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	if code, says := status(t, s.URL+"/open?ticket="+ticket, upgrade); code != 401 || says != "unauthorized" {
		t.Errorf("a second time: %d %s", code, says)
	}
	_, ticket = status(t, s.URL+"/ticket", http.Header{"Who": {"ben"}})
	first := parleytest.Open(t, s.WebSocketURL("/open"), nil)
	with := func(token string) *parleyv1.Command {
		return &parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: token}}}
	}
	if r := first.Do(with(ticket)); r.GetConnected().GetUser() != "ben" {
		t.Errorf("in the first message: %v", r)
	}
	second := parleytest.Open(t, s.WebSocketURL("/open"), nil)
	if r := second.Do(with(ticket)); r.GetError().GetCode() != "unauthorized" {
		t.Errorf("a second time: %v", r)
	}
}

func TestAnonymous(t *testing.T) {
	read := auth.Rule{Roles: []string{"*"}, Actions: []auth.Action{auth.ActionSubscribe}, Pattern: "news/#"}
	s := parleytest.Serve(t, parley.New(parley.WithAnonymous(), parley.WithRules(read)))
	a, b := s.Dial(""), s.Dial("")
	a.Subscribe("news/1")
	if e := subscribe(b, "other").GetError(); e.GetCode() != "forbidden" || !strings.Contains(e.GetMessage(), "anonymous") {
		t.Errorf("got %v", e)
	}
	_, err := s.Live.Publish(t.Context(), "news/1", "m", 1)
	must(t, err)
	a.Expect("m")
	must(t, s.Live.Broadcast(t.Context(), "all", 1))
	b.Expect("all")
	if s.Live.Online("") || s.Live.Stats().Users != 0 {
		t.Error("nobody is somebody")
	}
	a.Drop()
	if c := a.Reconnect(); c.GetUser() != "" || !c.GetResumed() {
		t.Errorf("got %v", c)
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	for says, o := range map[string]parley.Option{
		"history":           parley.WithTopic("a", parley.TopicSettings{History: -1}),
		"set HistoryAge":    parley.WithTopic("a", parley.TopicSettings{History: 1}),
		"alone in its":      parley.WithTopic("a+", parley.TopicSettings{}),
		"rule 1":            parley.WithRules(auth.Rule{Pattern: "a"}),
		"WithSecret":        parley.WithSecret([]byte("short")),
		"allowed origin":    parley.WithOrigins("app.example.com"),
		"public URL":        parley.WithPublicURL("chat.example.com"),
		"at least a second": parley.WithHeartbeat(time.Millisecond, time.Second),
	} {
		if l, err := parley.Open(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
			if l != nil {
				_ = l.Shutdown(t.Context())
			}
		}
	}
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "WithSecret") {
			t.Errorf("New panicked with %v", r)
		}
	}()
	parley.New(parley.WithSecret(nil))
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	live := parley.New(parley.WithMetrics(reg))
	s := parleytest.Serve(t, live)
	down := make(chan parley.Event, 1)
	live.OnDisconnect(func(e parley.Event) { down <- e })
	ada, ben := s.Dial("ada"), s.Dial("ben")
	ben.Subscribe("public/1")
	ada.Publish("public/1", "m", 1)
	ben.Expect("m")
	_ = ada.Call("nobody", nil, nil)
	ada.Drop()
	<-down
	families, err := reg.Gather()
	must(t, err)
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "parley_")
			for _, l := range m.GetLabel() {
				name += "/" + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"connections": 1, "users": 1, "sessions_detached": 1, "topics_wanted": 1, "requests_running": 0,
		"connections_accepted_total": 2, "connections_ended_total/connection_lost": 1, "errors_total": 1, "calls_total": 1,
		"messages_published_total": 1, "messages_delivered_total": 1, "messages_dropped_total": 0,
		"hook_events_dropped_total": 0, "socket_frames_received_total": 5,
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, there, want)
		}
	}
	if got["socket_bytes_total/in"] < 100 || got["socket_bytes_total/out"] < 100 {
		t.Errorf("bytes: %v", got)
	}
	if _, err := parley.Open(parley.WithMetrics(reg)); err == nil {
		t.Error("two were registered in one place")
	}
}
