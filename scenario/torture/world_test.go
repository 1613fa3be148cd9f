package torture_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleyhq/parley/scenario/torture"
)

const patience = 60 * time.Second

// process is a program that runs. What it says on its standard error is kept.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	errors bytes.Buffer
	said   chan string
	ended  chan struct{}
}

func start(t *testing.T, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...), said: make(chan string, 100), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.errors
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		defer func() { _ = p.cmd.Wait() }()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			select {
			case p.said <- lines.Text():
			default:
			}
		}
	}()
	return p
}

// await returns when the process has said a line that holds text.
func (p *process) await(text string) {
	p.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case line := <-p.said:
			if strings.Contains(line, text) {
				return
			}
		case <-p.ended:
			p.t.Fatalf("%s ended before it said %q:\n%s", p.cmd.Path, text, p.errors.String())
		case <-late.C:
			p.t.Fatalf("%s does not say %q:\n%s", p.cmd.Path, text, p.errors.String())
		}
	}
}

func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// kill ends the process as a power cut would, as far as the process can tell.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// end asks the process to end, and fails when it does not or says why it could
// not go on.
func (p *process) end() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.kill()
		p.t.Errorf("%s does not end:\n%s", p.cmd.Path, p.errors.String())
	}
	if !p.cmd.ProcessState.Success() {
		p.t.Errorf("%v: %v\n%s", p.cmd.Args, p.cmd.ProcessState, p.errors.String())
	}
}

// member is one client over all of its lives.
type member struct {
	name    string
	promise torture.Promise
	env     []string
	journal string
	process *process
}

// world is a server, the proxy before it, and its clients.
type world struct {
	t       *testing.T
	dir     string
	binary  string
	address string
	server  *process
	proxy   *proxy
	members []*member
}

const apiKey = "torture-api-key-torture-api-key-"

// newWorld builds the server and starts it.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, dir: dir, binary: filepath.Join(dir, "parley")}
	build := exec.Command("go", "build", "-o", w.binary, "github.com/parleyhq/parley/cmd/parley")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.address = freeAddress(t)
	var err error
	if w.proxy, err = listen(w.address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.proxy.close)
	w.serve()
	t.Cleanup(func() { w.server.kill() })
	return w
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serve starts the server and waits until it is ready.
func (w *world) serve() {
	w.t.Helper()
	w.server = start(w.t, []string{"PARLEY_API_KEY=" + apiKey}, w.binary, "serve", "--addr", w.address, "--data", filepath.Join(w.dir, "data"))
	w.server.await(w.address)
}

// add makes the clients of one promise known; join starts them.
func (w *world) add(promise torture.Promise, count int) {
	w.t.Helper()
	user := string(promise) + "-{i}"
	tokens, err := exec.Command(w.binary, "token", "--data", filepath.Join(w.dir, "data"), "--user", user, "--count", fmt.Sprint(count), "--ttl", "10h").Output()
	if err != nil {
		w.t.Fatal(err)
	}
	for i, token := range strings.Fields(string(tokens)) {
		m := &member{name: fmt.Sprintf("%s-%d", promise, i), promise: promise}
		m.journal = filepath.Join(w.dir, m.name)
		m.env = []string{
			envRole + "=" + string(promise), envURL + "=ws://" + w.proxy.address() + "/ws", envToken + "=" + token, envJournal + "=" + m.journal,
		}
		w.members = append(w.members, m)
	}
}

func (w *world) join(m *member) {
	w.t.Helper()
	m.process = start(w.t, m.env, os.Args[0])
}

// only returns the members with one of the promises.
func (w *world) only(promises ...torture.Promise) []*member {
	var out []*member
	for _, m := range w.members {
		for _, p := range promises {
			if m.promise == p {
				out = append(out, m)
			}
		}
	}
	return out
}

// newest asks the server which message is the last of each topic.
func (w *world) newest() map[string]uint64 {
	w.t.Helper()
	out := map[string]uint64{}
	for n := range topics {
		ctx, cancel := context.WithTimeout(w.t.Context(), patience)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.address+"/api/v1/history?limit=1&topic="+topicOf(n), nil)
		if err != nil {
			w.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+apiKey)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			w.t.Fatal(err)
		}
		var page struct {
			Position struct {
				Seq uint64 `json:"seq"`
			} `json:"position"`
		}
		err = json.NewDecoder(answer.Body).Decode(&page)
		_ = answer.Body.Close()
		cancel()
		if err != nil {
			w.t.Fatal(err)
		}
		out[topicOf(n)] = page.Position.Seq
	}
	return out
}

// settle waits until every receiver has what the server has, and the group has
// it between its members.
func (w *world) settle() {
	w.t.Helper()
	newest := w.newest()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		behind := w.behind(newest)
		if behind == "" {
			return
		}
		select {
		case <-look.C:
		case <-deadline.C:
			w.t.Errorf("after %v of quiet: %s", patience, behind)
			return
		}
	}
}

// behind names who lacks something; "" for nobody.
func (w *world) behind(newest map[string]uint64) string {
	group := map[string]map[uint64]bool{}
	members := 0
	for _, m := range w.only(torture.AtLeastOnce, torture.ExactlyOnce, torture.Group) {
		last := map[string]uint64{}
		for _, e := range w.read(m) {
			if e.Kind != torture.Got {
				continue
			}
			last[e.Topic] = max(last[e.Topic], e.Seq)
			if m.promise == torture.Group {
				if group[e.Topic] == nil {
					group[e.Topic] = map[uint64]bool{}
				}
				group[e.Topic][e.Seq] = true
			}
		}
		if m.promise == torture.Group {
			members++
			continue
		}
		for topic, seq := range newest {
			if last[topic] < seq {
				return fmt.Sprintf("%s has %s up to %d of %d", m.name, topic, last[topic], seq)
			}
		}
	}
	for topic, seq := range newest {
		for n := uint64(1); members > 0 && n <= seq; n++ {
			if !group[topic][n] {
				return fmt.Sprintf("no member of the group has %s %d", topic, n)
			}
		}
	}
	return ""
}

func (w *world) read(m *member) []torture.Entry {
	w.t.Helper()
	entries, err := torture.Read(m.journal)
	if err != nil {
		w.t.Fatal(err)
	}
	return entries
}

// journals returns what everybody saw.
func (w *world) journals() []torture.Journal {
	var out []torture.Journal
	for _, m := range w.members {
		out = append(out, torture.Journal{Client: m.name, Promise: m.promise, Entries: w.read(m)})
	}
	return out
}
