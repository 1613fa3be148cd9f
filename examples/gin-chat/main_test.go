package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// start builds the program as a reader would and runs it on a free port.
func start(t *testing.T) (address string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "chat")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = strings.Replace(free.Addr().String(), "127.0.0.1", "localhost", 1)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), "PORT="+address[strings.LastIndexByte(address, ':')+1:])
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
	})
	awaitListening(t, address)
	return address
}

// awaitListening knocks until somebody opens: the program does not say when it
// listens, as most do not.
func awaitListening(t *testing.T, address string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	knock := time.NewTicker(20 * time.Millisecond)
	defer knock.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			return
		}
		select {
		case <-knock.C:
		case <-ctx.Done():
			t.Fatalf("the program does not listen on %s: %v", address, err)
		}
	}
}

// enter connects with the cookie that the page sets.
func enter(t *testing.T, address, name string) *parleytest.Client {
	t.Helper()
	header := http.Header{}
	if name != "" {
		header.Set("Cookie", "name="+url.QueryEscape(name))
	}
	c := parleytest.Open(t, "ws://"+address+"/ws", header)
	r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{}}})
	if r.GetConnected().GetUser() != name {
		t.Fatalf("%v", r)
	}
	return c
}

// Two people talk; the one who had fallen out gets what was said meanwhile; who
// comes later reads what was said before.
func TestChat(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs a program")
	}
	address := start(t)
	ann, bob := enter(t, address, "Ann 安"), enter(t, address, "Bob")
	ann.Subscribe("room/lobby")
	bob.Subscribe("room/lobby")
	say := func(c *parleytest.Client, text string) {
		t.Helper()
		if err := c.Call("chat.send", Line{Text: text}, nil); err != nil {
			t.Fatal(err)
		}
	}
	say(ann, "hello")
	for _, c := range []*parleytest.Client{ann, bob} {
		if m := c.Expect("chat.line"); m.GetFrom() != "Ann 安" || string(m.GetPayload()) != `{"text":"hello"}` {
			t.Errorf("%v", m)
		}
	}
	bob.Drop()
	say(ann, "are you there?")
	bob.Reconnect(&parleyv1.Subscribe{Topic: "room/lobby", Since: &parleyv1.Position{Seq: 1}})
	if m := bob.Expect("chat.line"); !strings.Contains(string(m.GetPayload()), "are you there?") {
		t.Errorf("%v", m)
	}
	late := enter(t, address, "Eve")
	late.SubscribeSince("room/lobby", &parleyv1.Position{})
	for _, want := range []string{"hello", "are you there?"} {
		if m := late.Expect("chat.line"); !strings.Contains(string(m.GetPayload()), want) {
			t.Errorf("%v, want %q", m, want)
		}
	}

	// What is not right is answered and reaches nobody.
	if err := ann.Call("chat.send", Line{}, nil); err == nil || !strings.Contains(err.Error(), "text") {
		t.Errorf("an empty line: %v", err)
	}
	direct := ann.Do(&parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{Topic: "room/lobby", Type: "chat.line"}}})
	if direct.GetError().GetNumber() != http.StatusForbidden {
		t.Errorf("past the handler: %v", direct)
	}
	late.ExpectNothing()
}

func TestPageAndDoor(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs a program")
	}
	address := start(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if status, body := get("/"); status != 200 || !strings.Contains(body, "/sdk/parley.js") {
		t.Errorf("the page: %d", status)
	}
	if status, body := get("/sdk/parley.js"); status != 200 || !strings.Contains(body, "export function connect") {
		t.Errorf("the SDK: %d", status)
	}
	if status, _ := get("/ws"); status != http.StatusUnauthorized {
		t.Errorf("without a name: %d", status)
	}
}
