package parley_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

func subscribe(c *parleytest.Client, topic string) *parleyv1.Reply {
	return c.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: topic}}})
}

func unsubscribe(c *parleytest.Client, topic string) *parleyv1.Reply {
	return c.Do(&parleyv1.Command{Command: &parleyv1.Command_Unsubscribe{Unsubscribe: &parleyv1.Unsubscribe{Topic: topic}}})
}

func TestSubscribing(t *testing.T) {
	live := parley.New(parley.WithLimits(parley.Limits{Subscriptions: 3}))
	s := parleytest.Serve(t, live)
	c := s.Dial("ada")
	for _, topic := range []string{"public/1", "public/+", "public/#"} {
		c.Subscribe(topic)
	}
	if e := subscribe(c, "public/2").GetError(); e.GetCode() != "limit_reached" || e.GetNumber() != 429 || !strings.Contains(e.GetMessage(), "3 subscriptions are open") {
		t.Errorf("one too many: %v", e)
	}
	c.Subscribe("public/1") // again: it replaces the first
	_, err := live.Publish(t.Context(), "public/1", "m", 1)
	must(t, err)
	c.Expect("m")
	c.ExpectNothing() // although three filters match
	if r := unsubscribe(c, "public/1"); r.GetUnsubscribed().GetTopic() != "public/1" {
		t.Errorf("got %v", r)
	}
	_, err = live.Publish(t.Context(), "public/1", "m", 2)
	must(t, err)
	c.Expect("m")
	unsubscribe(c, "public/+")
	unsubscribe(c, "public/#")
	_, err = live.Publish(t.Context(), "public/1", "m", 3)
	must(t, err)
	c.ExpectNothing()
	if r := unsubscribe(c, "public/1"); r.GetUnsubscribed() == nil { // it is as asked for
		t.Errorf("twice: %v", r)
	}
	for topic, says := range map[string]string{"": "empty", strings.Repeat("a", 513): "too long", "a+": "alone in its level", "#/a": "alone in the last level"} {
		if e := subscribe(c, topic).GetError(); e.GetCode() != "bad_request" || !strings.Contains(e.GetMessage(), says) {
			t.Errorf("subscribe to %.20q: %v", topic, e)
		}
	}
}

func presenceOf(c *parleytest.Client, topic string) *parleyv1.Reply {
	return c.Do(&parleyv1.Command{Command: &parleyv1.Command_Presence{Presence: &parleyv1.Presence{Topic: topic}}})
}

func TestPresence(t *testing.T) {
	live := parley.New(parley.WithTopic("public/quiet/#", parley.TopicSettings{NoPresence: true}))
	s := parleytest.Serve(t, live)
	watcher := s.Dial("eve")
	r := watcher.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "public/1", Presence: true}}})
	if r.GetSubscribed() == nil {
		t.Fatal(r)
	}
	watcher.Until("the watcher itself", func(r *parleyv1.Reply) bool { return r.GetJoined().GetUser() == "eve" })
	phone, laptop := s.Dial("ada"), s.Dial("ada")
	phone.Subscribe("public/1")
	laptop.Subscribe("public/1")
	phone.ExpectNothing()
	laptop.ExpectNothing() // presence begins behind the answer, and before the next command
	joined := watcher.Until("ada", func(r *parleyv1.Reply) bool { return r.GetJoined().GetUser() == "ada" })
	if joined.GetJoined().GetTopic() != "public/1" {
		t.Errorf("got %v", joined)
	}
	s.Dial("ben").Subscribe("public/+") // a pattern is nowhere
	members := presenceOf(watcher, "public/1").GetPresence().GetMembers()
	if len(members) != 2 || members[0].GetUser() != "eve" || members[1].GetUser() != "ada" || members[1].GetDevices() != 2 {
		t.Errorf("members: %v", members)
	}
	unsubscribe(laptop, "public/1")
	if members, err := live.Presence(t.Context(), "public/1"); err != nil || len(members) != 2 || members[1].Devices != 1 {
		t.Errorf("members: %+v, %v", members, err)
	}
	for _, r := range watcher.Unread() {
		if r.GetJoined().GetUser() == "ada" || r.GetLeft() != nil {
			t.Errorf("a second device was seen: %v", r)
		}
	}
	phone.Subscribe("public/quiet/1")
	for topic, code := range map[string]string{"public/quiet/1": "not_found", "secret": "forbidden", "public/+": "bad_request"} {
		if r := presenceOf(phone, topic); r.GetError().GetCode() != code {
			t.Errorf("presence of %s: %v", topic, r)
		}
	}
}

func TestHooks(t *testing.T) {
	live := parley.New()
	s := parleytest.Serve(t, live)
	events := make(chan parley.Event, 10)
	live.OnConnect(func(parley.Event) { panic("an application's mistake") })
	live.OnConnect(func(e parley.Event) { events <- e })
	live.OnDisconnect(func(e parley.Event) { events <- e })
	c := s.Dial("ada")
	up := <-events
	if up.User != "ada" || !up.Connected || up.Session == "" || up.Node != live.Node() || up.At.IsZero() {
		t.Errorf("connected: %+v", up)
	}
	c.Drop()
	if down := <-events; down.User != "ada" || down.Connected || down.Session != up.Session || down.Reason != "connection_lost" {
		t.Errorf("disconnected: %+v", down)
	}
	c.Reconnect()
	if again := <-events; again.Session != up.Session {
		t.Errorf("resumed: %+v", again)
	}
	c.Close()
	if down := <-events; down.Reason != "closed" {
		t.Errorf("disconnected: %+v", down)
	}
	s.Open(http.Header{"Parley-Test-User": {"ben"}}).Drop() // it never connected: nobody is told
	s.Dial("eve")
	if e := <-events; e.User != "eve" {
		t.Errorf("got %+v", e)
	}
}

func TestMiddleware(t *testing.T) {
	live := parley.New()
	var mu sync.Mutex
	var trace []string
	note := func(s string) { mu.Lock(); trace = append(trace, s); mu.Unlock() }
	wrap := func(name string) parley.Middleware {
		return func(next parley.Handler) parley.Handler {
			return func(c *parley.Ctx) (any, error) {
				note(name + ">")
				out, err := next(c)
				note("<" + name)
				return out, err
			}
		}
	}
	live.Use(wrap("a"), wrap("b"))
	parley.On(live, "echo", func(c *parley.Ctx, in map[string]int) (any, error) {
		note(fmt.Sprintf("%s %s %s %q %s", c.User(), c.Type(), c.Topic(), c.Header("h"), c.Payload()))
		if c.SessionID() == "" || c.RequestID() == "" || c.Identity().User != c.User() || c.Logger() == nil {
			t.Errorf("%q %q %+v", c.SessionID(), c.RequestID(), c.Identity())
		}
		if _, limited := c.Deadline(); !limited {
			t.Error("a message without a deadline")
		}
		return in, nil
	})
	live.Use(wrap("c"), func(next parley.Handler) parley.Handler {
		return func(c *parley.Ctx) (any, error) {
			if c.User() == "eve" {
				return nil, parley.Forbidden("not you")
			}
			return next(c)
		}
	})
	s := parleytest.Serve(t, live)
	var e *protocol.Error
	if err := s.Dial("eve").Call("echo", nil, nil); !errors.As(err, &e) || e.Code != "forbidden" || e.Message != "not you" {
		t.Errorf("got %v", err)
	}
	mu.Lock()
	trace = nil
	mu.Unlock()
	var out map[string]int
	if err := s.Dial("ada").Call("echo", map[string]int{"n": 1}, &out); err != nil || out["n"] != 1 {
		t.Errorf("%v, %v", out, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"a>", "b>", "c>", `ada echo  "" {"n":1}`, "<c", "<b", "<a"}; !slices.Equal(trace, want) {
		t.Errorf("got %q, want %q", trace, want)
	}
}

func TestErrorsOfHandlers(t *testing.T) {
	live := parley.New()
	errs := map[string]error{
		"invalid": parley.Invalid("no %d", 1), "missing": parley.NotFound("no %d", 1), "conflict": parley.Conflict("no %d", 1),
		"many": parley.TooMany(3*time.Second, "no %d", 1), "wrapped": fmt.Errorf("around: %w", parley.Forbidden("no %d", 1)),
		"secret": errors.New("the password is no 1"), "denied": &auth.Error{Code: auth.CodeForbidden, Message: "no 1", Cause: errors.New("secret")},
	}
	parley.On(live, "fail", func(_ *parley.Ctx, kind string) (any, error) { return nil, errs[kind] })
	s := parleytest.Serve(t, live)
	c := s.Dial("ada")
	for kind, want := range map[string]protocol.Error{
		"invalid": {Reason: protocol.BadRequest}, "missing": {Reason: protocol.NotFound}, "conflict": {Reason: protocol.Conflict},
		"many": {Reason: protocol.RateLimited, RetryAfter: 3 * time.Second}, "wrapped": {Reason: protocol.Forbidden},
		"secret": {Reason: protocol.Internal}, "denied": {Reason: protocol.Forbidden},
	} {
		var e *protocol.Error
		if err := c.Call("fail", kind, nil); !errors.As(err, &e) || e.Code != want.Code || e.HTTP != want.HTTP || e.Retry != want.Retry || e.RetryAfter != want.RetryAfter {
			t.Errorf("%s: %+v", kind, err)
		} else if told := e.Message == "no 1"; told == (kind == "secret") {
			t.Errorf("%s: %q", kind, e.Message)
		}
	}
	for _, typ := range []string{"", "fail"} { // no type, and a second handler
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("On(%q) did not panic", typ)
				}
			}()
			parley.On(live, typ, func(_ *parley.Ctx, in string) (string, error) { return in, nil })
		}()
	}
}

func TestTooManyCalls(t *testing.T) {
	live := parley.New(parley.WithLimits(parley.Limits{Calls: 2}))
	release := make(chan struct{})
	parley.On(live, "wait", func(c *parley.Ctx, _ any) (string, error) {
		select {
		case <-release:
			return "done", nil
		case <-c.Done():
			return "", c.Err()
		}
	})
	s := parleytest.Serve(t, live)
	c := s.Dial("ada")
	c.Send(`[{"id":11,"call":{"type":"wait"}},{"id":12,"call":{"type":"wait"}},{"id":13,"call":{"type":"wait"}}]`)
	e := c.Until("the third", func(r *parleyv1.Reply) bool { return r.GetId() == 13 }).GetError()
	if e.GetCode() != "rate_limited" || e.GetRetryAfterMs() == 0 {
		t.Errorf("got %v", e)
	}
	c.ExpectNothing() // what follows is not held up
	close(release)
	for _, id := range []uint64{11, 12} {
		if r := c.Until("an answer", func(r *parleyv1.Reply) bool { return r.GetId() == id }); string(r.GetResult().GetPayload()) != `"done"` {
			t.Errorf("got %v", r)
		}
	}
	if err := c.Call("wait", nil, nil); err != nil {
		t.Errorf("after the others: %v", err)
	}
}

// What one client publishes takes effect in its order, also where handlers
// decide about it.
func TestHandlersOfPublishesRunInOrder(t *testing.T) {
	live := parley.New()
	parley.On(live, "line", func(c *parley.Ctx, n int) (any, error) {
		if n == 3 {
			return nil, parley.Invalid("not three")
		}
		_, err := c.Publish(c.Topic(), "line.said", n)
		return nil, err
	})
	s := parleytest.Serve(t, live)
	ada, ben := s.Dial("ada"), s.Dial("ben")
	ben.Subscribe("public/1")
	for i := range 20 {
		ada.Send(fmt.Sprintf(`{"id":%d,"publish":{"topic":"public/1","type":"line","payload":%d}}`, 100+i, i))
	}
	seq := uint64(0)
	for i := range 20 {
		r := ada.Until("an answer", func(r *parleyv1.Reply) bool { return r.GetId() != 0 })
		if i == 3 {
			if r.GetError().GetMessage() != "not three" {
				t.Errorf("got %v", r)
			}
			continue
		}
		seq++
		if r.GetId() != uint64(100+i) || r.GetPublished().GetPosition().GetSeq() != seq {
			t.Errorf("%d: %v", i, r)
		}
		if m := ben.Expect("line.said"); string(m.GetPayload()) != fmt.Sprint(i) || m.GetFrom() != "ada" {
			t.Errorf("%d: %v", i, m)
		}
	}
}

func TestDisconnect(t *testing.T) {
	live := parley.New()
	s := parleytest.Serve(t, live)
	phone, laptop, ben := s.Dial("ada"), s.Dial("ada"), s.Dial("ben")
	if n, err := live.Disconnect(t.Context(), "ada", "you were banned"); err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
	for _, c := range []*parleytest.Client{phone, laptop} {
		if end := c.ExpectEnd(); end.Code != 4502 {
			t.Errorf("got %v", end)
		}
		told := slices.ContainsFunc(c.Unread(), func(r *parleyv1.Reply) bool { return r.GetError().GetMessage() == "you were banned" })
		left := slices.ContainsFunc(c.Unread(), func(r *parleyv1.Reply) bool { return r.GetLeaving().GetReason() == "disconnected" })
		if !told || !left {
			t.Errorf("told %v", c.Unread())
		}
	}
	ben.ExpectNothing()
	if c := phone.Reconnect(); c.GetResumed() {
		t.Error("a session was resumed that an operator has ended")
	}
	if _, err := live.Disconnect(t.Context(), "", "why"); err == nil {
		t.Error("nobody was disconnected")
	}
}

func TestRightsThatChange(t *testing.T) {
	var mu sync.Mutex
	members := map[string]bool{"ada": true, "ben": true}
	live := parley.New()
	live.Authorize("room/#", func(_ context.Context, who parley.Identity, _ auth.Action, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if !members[who.User] {
			return parley.Forbidden("members only")
		}
		return nil
	})
	s := parleytest.Serve(t, live)
	ada, ben := s.Dial("ada"), s.Dial("ben")
	ada.Subscribe("room/1")
	ada.Subscribe("public/1")
	ben.Subscribe("room/1")
	mu.Lock()
	delete(members, "ada")
	mu.Unlock()
	if n := live.Reauthorize(t.Context(), "ada"); n != 1 {
		t.Errorf("%d subscriptions ended", n)
	}
	ada.Until("the end of a subscription", func(r *parleyv1.Reply) bool { return r.GetUnsubscribed().GetTopic() == "room/1" })
	for _, topic := range []string{"room/1", "public/1"} {
		_, err := live.Publish(t.Context(), topic, topic, 1)
		must(t, err)
	}
	ada.Expect("public/1")
	ada.ExpectNothing()
	ben.Expect("room/1")
	if e := subscribe(ada, "room/1").GetError(); e.GetCode() != "forbidden" || e.GetMessage() != "members only" {
		t.Errorf("got %v", e)
	}
}

func TestRefreshWithOtherRoles(t *testing.T) {
	identities := map[string]parley.Identity{
		"admin": {User: "ada", Roles: []string{"admin"}, Expires: time.Now().Add(time.Hour)},
		"plain": {User: "ada", Expires: time.Now().Add(time.Hour)},
		"other": {User: "ben", Expires: time.Now().Add(time.Hour)},
	}
	verifier := auth.VerifierFunc(func(_ context.Context, token string) (parley.Identity, error) {
		if token == "panic" {
			panic("a verifier's mistake")
		}
		if id, ok := identities[token]; ok {
			return id, nil
		}
		return parley.Identity{}, &auth.Error{Code: auth.CodeTokenInvalid, Message: "who is that"}
	})
	all := []auth.Action{auth.ActionSubscribe, auth.ActionPublish}
	live := parley.New(parley.WithVerifier(verifier), parley.WithRules(
		auth.Rule{Actions: all, Pattern: "public/#"}, auth.Rule{Roles: []string{"admin"}, Actions: all, Pattern: "admin/#"}))
	s := parleytest.Serve(t, live)
	c := s.Open(nil)
	connected := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: "admin"}}}).GetConnected()
	if connected.GetUser() != "ada" || connected.GetExpiresInMs() < 3_000_000 {
		t.Fatalf("got %v", connected)
	}
	c.Subscribe("admin/1")
	c.Subscribe("public/1")
	refresh := func(token string) *parleyv1.Reply {
		return c.Do(&parleyv1.Command{Command: &parleyv1.Command_Refresh{Refresh: &parleyv1.Refresh{Token: token}}})
	}
	for token, code := range map[string]string{"other": "forbidden", "forged": "unauthorized", "panic": "internal"} {
		if e := refresh(token).GetError(); e.GetCode() != code {
			t.Errorf("refresh with %s: %v", token, e)
		}
	}
	c.Publish("admin/1", "still", 1)
	c.Expect("still")
	if r := refresh("plain"); r.GetRefreshed().GetExpiresInMs() < 3_000_000 {
		t.Fatalf("got %v", r)
	}
	c.Until("the end of a subscription", func(r *parleyv1.Reply) bool { return r.GetUnsubscribed().GetTopic() == "admin/1" })
	for _, topic := range []string{"admin/1", "public/1"} {
		_, err := live.Publish(t.Context(), topic, topic, 1)
		must(t, err)
	}
	c.Expect("public/1")
	c.ExpectNothing()
}

func TestShutdown(t *testing.T) {
	live := parley.New()
	s := parleytest.Serve(t, live)
	ada, silent := s.Dial("ada"), s.Open(http.Header{"Parley-Test-User": {"ben"}})
	ada.Subscribe("public/1")
	ended := make(chan error, 1)
	go func() { ended <- live.Shutdown(context.Background()) }()
	for _, c := range []*parleytest.Client{ada, silent} {
		if end := c.ExpectEnd(); end.Code != 4000 {
			t.Errorf("closed with %v", end)
		}
		leaving := c.Unread()[len(c.Unread())-1].GetLeaving()
		if leaving.GetReason() != "draining" || leaving.GetRetryAfterMs() >= 5000 {
			t.Errorf("got %v", leaving)
		}
		c.Close()
	}
	must(t, <-ended)
	must(t, live.Shutdown(t.Context()))
	if _, err := live.Publish(t.Context(), "a", "t", 1); err == nil {
		t.Error("published after the end")
	}
	resp, err := http.Get(s.URL + "/ws")
	must(t, err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a new connection: %s %v", resp.Status, resp.Header)
	}
	for _, h := range live.Health(t.Context()) {
		if h.OK {
			t.Errorf("%+v", h)
		}
	}
}
