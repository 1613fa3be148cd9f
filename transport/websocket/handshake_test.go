package websocket_test

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth/jwt"
	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

func TestHandshakeRefusals(t *testing.T) {
	s := parleytest.Serve(t, parley.New())
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
	}
	for _, tc := range []struct {
		name   string
		spoil  func(*http.Request)
		status int
		says   []string // in the body
	}{
		{"a browser's visit", func(r *http.Request) { r.Header = http.Header{} }, 400, []string{"bad_request", "WebSocket client"}},
		{"no upgrade", set("Upgrade"), 400, []string{"WebSocket client"}},
		{"another upgrade", set("Upgrade", "h2c"), 400, []string{"WebSocket client"}},
		{"connection lost in a proxy", set("Connection", "keep-alive"), 400, []string{"proxy"}},
		{"POST", func(r *http.Request) { r.Method = http.MethodPost }, 404, nil},
		{"version 8", set("Sec-WebSocket-Version", "8"), 426, []string{"upgrade_required", `\"8\"`, "use 13"}},
		{"no version", set("Sec-WebSocket-Version"), 426, []string{"use 13"}},
		{"no key", set("Sec-WebSocket-Key"), 400, []string{"Sec-WebSocket-Key"}},
		{"a short key", set("Sec-WebSocket-Key", "c2hvcnQ="), 400, []string{"Sec-WebSocket-Key"}},
		{"unknown subprotocols", set("Sec-WebSocket-Protocol", "soap", "mqtt"), 400, []string{"parley.v1.json"}},
		{"foreign origin", set("Origin", "https://evil.example"), 403, []string{"forbidden", "https://evil.example", strings.TrimPrefix(s.URL, "http://")}},
		{"an origin that is none", set("Origin", "null"), 403, []string{"null"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := handshake(s, "ada")
			tc.spoil(r)
			w := dial(t, r)
			body, err := io.ReadAll(w.resp.Body)
			if err != nil || w.resp.StatusCode != tc.status {
				t.Errorf("%s %s, %v", w.resp.Status, body, err)
			}
			for _, part := range tc.says {
				if !strings.Contains(string(body), part) {
					t.Errorf("%s does not say %q", body, part)
				}
			}
			if v := w.resp.Header.Get("Sec-WebSocket-Version"); (tc.status == 426) != (v == "13") {
				t.Errorf("Sec-WebSocket-Version: %q", v)
			}
		})
	}
	if st := s.Live.Stats(); st.Accepted != 0 || st.Open != 0 {
		t.Errorf("%+v", st)
	}
}

func TestHandshakeAccepted(t *testing.T) {
	for _, tc := range []struct {
		name, header string
		values       []string
	}{
		{"the same origin", "Origin", []string{"http://HOST"}},
		{"Connection with more words", "Connection", []string{"keep-alive, Upgrade"}},
		{"Upgrade in capitals", "Upgrade", []string{"WebSocket"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := parleytest.Serve(t, parley.New())
			r := handshake(s, "ada")
			host := r.URL.Host
			for _, v := range tc.values {
				r.Header.Set(tc.header, strings.Replace(v, "HOST", host, 1))
			}
			w := dial(t, r)
			h := w.resp.Header
			if w.resp.StatusCode != 101 || h.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || len(h["Sec-Websocket-Protocol"])+len(h["Sec-Websocket-Extensions"]) != 0 {
				t.Errorf("%s %v", w.resp.Status, h)
			}
		})
	}
}

func TestSubprotocols(t *testing.T) {
	s := parleytest.Serve(t, parley.New())
	for _, tc := range []struct {
		offered []string
		want    string
	}{
		{[]string{"parley.v1.json"}, "parley.v1.json"},
		{[]string{"parley.v1.protobuf"}, "parley.v1.protobuf"},
		{[]string{"secret-token", "parley.v1.json"}, "parley.v1.json"},
		{[]string{"mqtt, parley.v1.protobuf, parley.v1.json"}, "parley.v1.protobuf"},
	} {
		r := handshake(s, "ada")
		r.Header["Sec-Websocket-Protocol"] = tc.offered
		w := dial(t, r)
		if got := w.resp.Header["Sec-Websocket-Protocol"]; w.resp.StatusCode != 101 || !slices.Equal(got, []string{tc.want}) {
			t.Errorf("%q: %s, chosen %q", tc.offered, w.resp.Status, got)
		}
	}
}

// tokens returns a key and tokens that are wrong, each in one way.
func tokens(t *testing.T) (*jwt.Key, map[string]string) {
	t.Helper()
	key := func(k *jwt.Key, err error) *jwt.Key {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sign := func(k *jwt.Key, life time.Duration) string {
		t.Helper()
		text, err := k.Sign(parley.Identity{User: "ada", Expires: time.Now().Add(life)})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ours := key(jwt.HS256([]byte(strings.Repeat("k", 32)), jwt.Config{}))
	theirs := key(jwt.HS256([]byte(strings.Repeat("x", 32)), jwt.Config{}))
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other := key(jwt.EdDSASigner(private, jwt.Config{}))
	return ours, map[string]string{
		"good": sign(ours, time.Hour), "expired": sign(ours, -time.Minute), "forged": sign(theirs, time.Hour),
		"another algorithm": sign(other, time.Hour), "not a token": "a.b.c", "missing": "",
		"unsigned": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJleHAiOjk5OTk5OTk5OTl9.",
	}
}

func TestTokens(t *testing.T) {
	key, texts := tokens(t)
	s := parleytest.Serve(t, parley.New(parley.WithVerifier(key)))
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			code, end, says := "unauthorized", 4500, map[string]string{"missing": "sign in", "another algorithm": "HS256", "unsigned": "HS256"}[name]
			if name == "expired" {
				code, end, says = "token_expired", 4100, "expired"
			}
			r := handshake(s, "")
			r.Header.Set("Authorization", "Bearer "+text)
			w := dial(t, r)
			switch name {
			case "missing": // it may still come in the connect command
				if w.resp.StatusCode != 101 {
					t.Errorf("in the handshake: %s", w.resp.Status)
				}
			case "good":
				w.text(`{"id":1,"connect":{}}`)
				if c := w.reply().GetConnected(); c.GetUser() != "ada" || c.GetExpiresInMs() < 3_500_000 {
					t.Errorf("in the handshake: %v", c)
				}
			default:
				body, _ := io.ReadAll(w.resp.Body)
				if w.resp.StatusCode != 401 || w.resp.Header.Get("WWW-Authenticate") != "Bearer" || !strings.Contains(string(body), `"`+code+`"`) || !strings.Contains(string(body), says) {
					t.Errorf("in the handshake: %s %s", w.resp.Status, body)
				}
			}
			w = open(t, s, "")
			w.text(fmt.Sprintf(`{"id":7,"connect":{"token":%q}}`, text))
			if name == "good" {
				if c := w.reply().GetConnected(); c.GetUser() != "ada" {
					t.Errorf("in connect: %v", c)
				}
				return
			}
			got, said := w.end()
			if len(said) != 2 || said[0].GetId() != 7 || said[0].GetError().GetCode() != code || said[0].GetError().GetNumber() != 401 || !strings.Contains(said[0].GetError().GetMessage(), says) || said[1].GetLeaving() == nil || got != end {
				t.Errorf("in connect: closed with %d after %v", got, said)
			}
		})
	}
}

func TestATokenInTheAddressIsRefused(t *testing.T) {
	key, texts := tokens(t)
	s := parleytest.Serve(t, parley.New(parley.WithVerifier(key)))
	r := handshake(s, "")
	r.URL.RawQuery = "ticket=" + texts["good"]
	w := dial(t, r)
	if body, _ := io.ReadAll(w.resp.Body); w.resp.StatusCode != 401 || !strings.Contains(string(body), "never into a URL") {
		t.Errorf("%s %s", w.resp.Status, body)
	}
}

func TestAHandshakeThatIsNeverFinishedIsCut(t *testing.T) {
	live := parley.New()
	r := gin.New()
	r.GET("/ws", live.Handler())
	h := httptest.NewUnstartedServer(r)
	h.Config.ReadHeaderTimeout = 100 * time.Millisecond
	h.Start()
	defer func() {
		if err := live.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		h.Close()
	}()
	conn, err := net.Dial("tcp", h.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: webs"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection did not end: %v", err)
	}
}

func TestTimeoutHandlerInFrontIsNamed(t *testing.T) {
	live := parley.New()
	r := gin.New()
	r.GET("/ws", live.Handler())
	h := httptest.NewServer(http.TimeoutHandler(r, patience, "too late"))
	defer func() {
		if err := live.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		h.Close()
	}()
	w := dial(t, handshake(&parleytest.Server{URL: h.URL}, "ada"))
	if body, _ := io.ReadAll(w.resp.Body); w.resp.StatusCode != 500 || !strings.Contains(string(body), "http.TimeoutHandler") {
		t.Errorf("%s %s", w.resp.Status, body)
	}
}

// What comes behind the upgrade in Gin's chain must neither run nor reach the
// client.
func TestNothingIsWrittenAfterTheUpgrade(t *testing.T) {
	wrote := make(chan error, 1)
	live := parley.New()
	s := parleytest.Serve(t, live, func(r *gin.Engine) {
		r.GET("/chain", func(c *gin.Context) {
			parley.SetIdentity(c, parley.Identity{User: "ada"})
			c.Next()
			_, err := c.Writer.WriteString("too late")
			wrote <- err
		}, live.Handler(), func(c *gin.Context) {
			t.Error("the chain went on")
			c.JSON(http.StatusOK, "after")
		})
	})
	r := handshake(s, "")
	r.URL.Path = "/chain"
	w := dial(t, r)
	if err := <-wrote; err == nil {
		t.Error("a middleware could write after the upgrade")
	}
	w.text(`{"id":1,"connect":{}}`)
	if c := w.reply().GetConnected(); c.GetUser() != "ada" {
		t.Errorf("got %v", c)
	}
	w.alive()
}

// Gin gives a context to the next request as soon as the handler returns. A
// socket must keep the identity of its own handshake.
func TestSocketsKeepTheirIdentity(t *testing.T) {
	s := parleytest.Serve(t, parley.New())
	const sockets = 60
	var all [sockets]*wire
	var wg sync.WaitGroup
	for i := range sockets {
		wg.Go(func() { all[i] = dial(t, handshake(s, fmt.Sprint("user-", i))) })
	}
	wg.Wait()
	for i := range sockets { // contexts of all of them have been used again by now
		if resp, err := http.Get(s.URL + "/none"); err == nil {
			_ = resp.Body.Close()
		}
		all[i].text(`{"id":1,"connect":{}}`)
		if c := all[i].reply().GetConnected(); c.GetUser() != fmt.Sprint("user-", i) {
			t.Errorf("socket %d is %q", i, c.GetUser())
		}
	}
}

// A client may send without waiting for the handshake's answer to be read.
func TestEarlyFrames(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t)
		for _, cut := range []int{0, 1, 7} { // bytes of the last frame that come later
			early := frame(0x81, `{"id":1,"connect":{}}`)
			for i := range 10 {
				early = append(early, frame(0x81, fmt.Sprintf(`{"id":%d,"publish":{"topic":"public/%d","type":"t"}}`, i+2, cut))...)
			}
			r := handshake(s, "ada")
			w := dial(t, r, early[:len(early)-cut]...)
			w.send(early[len(early)-cut:])
			if c := w.reply(); c.GetConnected() == nil {
				t.Fatalf("got %v", c)
			}
			for i := range 10 {
				if p := w.reply(); p.GetId() != uint64(i+2) || p.GetPublished().GetPosition().GetSeq() != uint64(i+1) {
					t.Errorf("frame %d: %v", i, p)
				}
			}
		}
	})
}

func TestLimitsOfConnections(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits parley.Limits
		status int
		code   string
	}{
		{"of the node", parley.Limits{ConnectionsNode: 2}, 503, "overloaded"},
		{"of an address", parley.Limits{ConnectionsOneIP: 2}, 429, "rate_limited"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := parleytest.Serve(t, parley.New(parley.WithLimits(tc.limits)))
			for range 3 { // handshakes that come to nothing take no place
				bad := handshake(s, "ada")
				bad.Header.Set("Origin", "https://evil.example")
				dial(t, bad)
				bad = handshake(s, "ada")
				bad.Header.Del("Sec-WebSocket-Key")
				dial(t, bad)
			}
			first := open(t, s, "ada")
			open(t, s, "ben")
			r := dial(t, handshake(s, "eve")).resp
			body, _ := io.ReadAll(r.Body)
			if r.StatusCode != tc.status || r.Header.Get("Retry-After") != "5" || !strings.Contains(string(body), tc.code) {
				t.Errorf("%s %v %s", r.Status, r.Header, body)
			}
			ended := make(chan parley.Event, 8)
			s.Live.OnDisconnect(func(e parley.Event) { ended <- e })
			first.send(closing(1000, ""))
			first.end()
			<-ended
			open(t, s, "eve")
		})
	}
	t.Run("of a user", func(t *testing.T) {
		s := parleytest.Serve(t, parley.New(parley.WithLimits(parley.Limits{ConnectionsUser: 1})))
		open(t, s, "ada")
		open(t, s, "ben")
		w := dial(t, handshake(s, "ada"))
		w.text(`{"id":1,"connect":{}}`)
		code, said := w.end()
		if code != 4506 || !slices.ContainsFunc(said, func(r *parleyv1.Reply) bool { return r.GetError().GetCode() == "limit_reached" }) {
			t.Errorf("closed with %d after %v", code, said)
		}
	})
}
