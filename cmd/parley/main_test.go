package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// checked looks for goroutines that tests left behind.
type checked struct{ m *testing.M }

func (c checked) Run() int {
	code := c.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(checked{m}, map[string]func(){"parley": main})
}

// TestScripts runs the command as people type it. Each file in testdata is one
// story.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true})
}

// lines collects what a process writes and lets a test wait for a part of it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await returns the first match of pattern.
func (l *lines) await(t *testing.T, pattern string) []string {
	t.Helper()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for {
		if found := regexp.MustCompile(pattern).FindStringSubmatch(l.String()); found != nil {
			return found
		}
		select {
		case <-l.more:
		case <-late.C:
			t.Fatalf("%s did not come; what came: %s", pattern, l)
		}
	}
}

// process is a parley that runs.
type process struct {
	cmd         *exec.Cmd
	out, errors lines
}

func launch(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	p := &process{}
	p.out.more, p.errors.more = make(chan struct{}, 1), make(chan struct{}, 1)
	p.cmd = exec.Command("parley", args...)
	p.cmd.Env = append(os.Environ(), environ...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errors
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait() // it was killed
		}
	})
	return p
}

const key = "a-key-for-the-tests"

// serve starts a server and returns its address.
func serveIn(t *testing.T, data string) (p *process, url string) {
	t.Helper()
	p = launch(t, []string{"PARLEY_API_KEY=" + key}, "serve", "--addr", "127.0.0.1:0", "--data", data)
	return p, p.out.await(t, `Open +(\S+)`)[1]
}

func output(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "parley", args...)
	cmd.Env = append(os.Environ(), environ...)
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("parley %v: %v", args, err)
	}
	return strings.TrimSpace(string(text))
}

// The main job, as an operator does it: start, hand out tokens beside the running
// server, watch, publish with curl and with the command, stop.
func TestServe(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	server, url := serveIn(t, data)
	tokens := strings.Split(output(t, nil, "token", "--data", data, "--user", "u{i}", "--count", "2"), "\n")
	if len(tokens) != 2 {
		t.Fatalf("%q", tokens)
	}
	c := parleytest.Open(t, "ws"+strings.TrimPrefix(url, "http")+"/ws", nil)
	hello := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: tokens[1]}}})
	if hello.GetConnected().GetUser() != "u1" {
		t.Fatal(hello)
	}
	c.Subscribe("public/#")
	watcher := launch(t, []string{"PARLEY_API_KEY=" + key, "PARLEY_URL=" + url}, "sub", "public/+", "--count", "2")
	awaitConnections(t, url, 2)

	answer := curl(t, url+"/api/v1/publish", `{"topic":"public/a","type":"t","key":"k1","payload":{"by":"curl"}}`)
	if !regexp.MustCompile(`^\{"position":\{"epoch":"\w+","seq":1\},"duplicate":false\}\n$`).MatchString(answer) {
		t.Errorf("%s", answer)
	}
	said := output(t, []string{"PARLEY_TOKEN=" + tokens[0], "PARLEY_URL=" + url}, "pub", "public/a", "no JSON at all", "--type", "t")
	if !strings.Contains(said, `"seq":2`) {
		t.Errorf("%s", said)
	}
	if m := c.Expect("t"); string(m.GetPayload()) != `{"by":"curl"}` || m.GetFrom() != "" {
		t.Errorf("%v", m)
	}
	if m := c.Expect("t"); string(m.GetPayload()) != `"no JSON at all"` || m.GetFrom() != "u0" {
		t.Errorf("%v", m)
	}
	if err := watcher.cmd.Wait(); err != nil || strings.Count(watcher.out.String(), "\n") != 2 || !strings.Contains(watcher.out.String(), `"payload":{"by":"curl"}`) {
		t.Errorf("%v: %s%s", err, &watcher.out, &watcher.errors)
	}

	if err := server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if end := c.ExpectEnd(); end.Code != 4000 {
		t.Errorf("%v", end)
	}
	c.Close()
	if err := server.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM with clients connected: %v\n%s", err, &server.errors)
	}
}

// awaitConnections watches the gauge until n clients are there.
func awaitConnections(t *testing.T, url string, n int) {
	t.Helper()
	want := fmt.Sprintf(`"connections":%d`, n)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for got := ""; ; got = curl(t, url+"/api/v1/info", "") {
		// Two filters are wanted: both clients have also subscribed.
		if strings.Contains(got, want) && strings.Contains(got, fmt.Sprintf(`"topics":%d`, n)) {
			return
		}
		select {
		case <-again.C:
		case <-t.Context().Done():
			t.Fatalf("no %s: %s", want, got)
		}
	}
}

// curl asks as the README does; with a body it posts.
func curl(t *testing.T, url, body string) string {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A server that was killed leaves nothing that keeps the next one out, and its
// tokens stay good.
func TestKilled(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	first, _ := serveIn(t, data)
	token := output(t, nil, "token", "--data", data, "--user", "ann")
	second := launch(t, nil, "serve", "--addr", "127.0.0.1:0", "--data", data)
	if err := second.cmd.Wait(); err == nil || !strings.Contains(second.errors.String(), fmt.Sprintf("is used by process %d", first.cmd.Process.Pid)) {
		t.Errorf("a second server on one folder: %v %s", err, &second.errors)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.cmd.Wait() // it was killed
	third, url := serveIn(t, data)
	var answer struct {
		Position struct {
			Seq int `json:"seq"`
		} `json:"position"`
	}
	said := output(t, []string{"PARLEY_TOKEN=" + token, "PARLEY_URL=" + url}, "pub", "public/a", "1")
	if err := json.Unmarshal([]byte(said), &answer); err != nil || answer.Position.Seq != 1 {
		t.Errorf("%s: %v", said, err)
	}
	if err := third.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := third.cmd.Wait(); err != nil {
		t.Errorf("Ctrl+C: %v %s", err, &third.errors)
	}
}
