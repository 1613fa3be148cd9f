package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const orders = "public/durable/orders"

// kill ends a server as a crash does.
func kill(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // it was killed
}

// bulky publishes n after a text that does not compress, and reports whether it
// was accepted.
func bulky(t *testing.T, url string, n, size int) (accepted bool, answer string) {
	t.Helper()
	text := make([]byte, size)
	for i := range text {
		text[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-"[rand.IntN(64)]
	}
	answer = curl(t, url+"/api/v1/publish", fmt.Sprintf(`{"topic":%q,"type":"t","payload":{"n":%d,"text":%q}}`, orders, n, text))
	return strings.Contains(answer, `"seq"`), answer
}

// crashed is a data folder as a killed server leaves it: 300 messages in a table,
// 100 in the log.
func crashed(t *testing.T) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	n := 0
	for _, until := range []int{300, 400} { // the second start puts what was in the log into a table
		server, url := serveIn(t, data)
		noted := ""
		for ; n < until; n++ {
			if n == until-1 {
				noted = ledger(t, data)
			}
			if ok, answer := bulky(t, url, n, 120); !ok {
				t.Fatal(answer)
			}
		}
		// Damage to what was written before the last entry in the ledger is told from
		// the torn end of a log.
		again := time.NewTicker(20 * time.Millisecond)
		for ledger(t, data) == noted {
			<-again.C
		}
		again.Stop()
		kill(t, server)
	}
	return data
}

func ledger(t *testing.T, data string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "store", "LEDGER"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// largest is the largest file of a kind in the store of a data folder.
func largest(t *testing.T, data, pattern string) (name string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(data, "store", pattern))
	if err != nil {
		t.Fatal(err)
	}
	most := int64(-1)
	for _, f := range found {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > most {
			name, most = f, info.Size()
		}
	}
	if name == "" {
		t.Fatalf("no %s", pattern)
	}
	return name
}

// A flipped bit in a table: the server runs, tells that messages are missing,
// and serves all others; check names them, and repair saves the rest.
func TestDamagedTable(t *testing.T) {
	t.Parallel()
	data := crashed(t)
	spoil(t, largest(t, data, "*.sst"))
	said := refused(t, nil, "check", data)
	if !strings.Contains(said, "DAMAGED store: topic "+orders) || !strings.Contains(said, "messages ") {
		t.Error(said)
	}
	server, url := serveIn(t, data)
	if text := curl(t, url+"/api/v1/history?topic="+orders+"&after_seq=0&limit=500", ""); !strings.Contains(text, `"gap":true`) {
		t.Errorf("no gap: %.300s", text)
	}
	_, before := payloads(t, url, orders)
	if len(before) < 200 || len(before) >= 400 {
		t.Errorf("%d of 400 messages", len(before))
	}
	publishInt(t, url, orders, 400)
	terminate(t, server)
	if !strings.Contains(server.errors.String(), "damaged") {
		t.Errorf("the log of the server says nothing: %s", &server.errors)
	}

	saved := filepath.Join(t.TempDir(), "saved")
	if said := output(t, nil, "check", "--repair", data, "--to", saved); !strings.Contains(said, "DAMAGED store: topic "+orders) {
		t.Error(said)
	}
	_, url = serveIn(t, saved)
	if _, after := payloads(t, url, orders); len(after) != len(before)+1 {
		t.Errorf("%d messages were saved of %d", len(after), len(before)+1)
	}
}

// What Pebble would open as if nothing had been there is refused, and what is
// left stays.
func TestLostFiles(t *testing.T) {
	t.Parallel()
	for pattern, change := range map[string]func(name string) error{
		"MANIFEST*": func(name string) error { return os.Truncate(name, 60) },
		"*.log":     os.Remove,
	} {
		data := crashed(t)
		if err := change(largest(t, data, pattern)); err != nil {
			t.Fatal(err)
		}
		if said := refused(t, nil, "serve", "--addr", "127.0.0.1:0", "--data", data); !strings.Contains(said, "the store is damaged") || !strings.Contains(said, "parley check") {
			t.Errorf("%s: %s", pattern, said)
		}
		if said := refused(t, nil, "check", data); !strings.Contains(said, "DAMAGED store: the store is damaged") {
			t.Errorf("%s: %s", pattern, said)
		}
	}
}

// A flipped bit in the middle of the log: acknowledged messages follow, so the
// server does not start; repair saves what came before.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	data := crashed(t)
	name := largest(t, data, "*.log")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text[len(bytes.TrimRight(text, "\x00"))/2] ^= 4
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := refused(t, nil, "serve", "--addr", "127.0.0.1:0", "--data", data); !strings.Contains(said, "damaged") && !strings.Contains(said, "invalid chunk") {
		t.Error(said)
	}
	if said := refused(t, nil, "check", data); !strings.Contains(said, "DAMAGED store: ") {
		t.Error(said)
	}
	saved := filepath.Join(t.TempDir(), "saved")
	if said := output(t, nil, "check", "--repair", data, "--to", saved); !strings.Contains(said, "DAMAGED store: ") {
		t.Error(said)
	}
	_, url := serveIn(t, saved)
	_, list := payloads(t, url, orders)
	if len(list) < 300 || len(list) >= 400 {
		t.Errorf("%d messages were saved", len(list))
	}
	for i, n := range list {
		if n != i {
			t.Fatalf("message %d is %d", i, n)
		}
	}
}

// A torn end of the log is what a crash leaves: nobody has to know.
func TestTornLog(t *testing.T) {
	t.Parallel()
	data := crashed(t)
	if said := output(t, nil, "check", data); strings.Contains(said, "DAMAGED") || !strings.Contains(said, "1 topics, 400 messages") {
		t.Error(said)
	}
	name := largest(t, data, "*.log")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Repeat([]byte("torn"), 100)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, url := serveIn(t, data)
	if _, list := payloads(t, url, orders); len(list) != 400 {
		t.Errorf("%d of 400 messages", len(list))
	}
}
