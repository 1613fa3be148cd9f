package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// terminate stops a server in order.
func terminate(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &p.errors)
	}
}

// refused runs a command that has to fail, and returns what it says.
func refused(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, "parley", args...)
	cmd.Env = append(os.Environ(), environ...)
	text, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Fatalf("parley %v was not refused: %s", args, text)
	}
	return string(text)
}

type page struct {
	Messages []struct {
		Epoch   string `json:"epoch"`
		Seq     int    `json:"seq"`
		Payload struct {
			N int `json:"n"`
		} `json:"payload"`
	} `json:"messages"`
}

// payloads reads the history of a durable topic from the beginning.
func payloads(t *testing.T, url, topic string) (epoch string, list []int) {
	t.Helper()
	for after := 0; ; {
		var p page
		text := curl(t, fmt.Sprintf("%s/api/v1/history?topic=%s&after_seq=%d&limit=500", url, topic, after), "")
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if len(p.Messages) == 0 {
			return epoch, list
		}
		for _, m := range p.Messages {
			epoch = m.Epoch
			if m.Seq <= after {
				t.Fatalf("%d follows %d", m.Seq, after)
			}
			after = m.Seq
			list = append(list, m.Payload.N)
		}
	}
}

func publishInt(t *testing.T, url, topic string, n int) {
	t.Helper()
	answer := curl(t, url+"/api/v1/publish", fmt.Sprintf(`{"topic":%q,"type":"t","payload":{"n":%d}}`, topic, n))
	if !strings.Contains(answer, `"seq"`) {
		t.Errorf("publish: %s", answer)
	}
}

// A backup of a running server that is published to holds what was acknowledged
// before it began, in order; a server started from it serves that in a new
// epoch, and goes on.
func TestBackup(t *testing.T) {
	t.Parallel()
	const topic = "public/durable/orders"
	data, folder := t.TempDir(), t.TempDir()
	server, url := serveIn(t, data)
	const before = 50
	for i := range before {
		publishInt(t, url, topic, i)
	}
	var running sync.WaitGroup
	stop := make(chan struct{})
	published := before
	running.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				publishInt(t, url, topic, published)
				published++
			}
		}
	})
	access := []string{"PARLEY_API_KEY=" + key, "PARLEY_URL=" + url}
	copied := filepath.Join(folder, "copy")
	if said := output(t, access, "backup", "--to", copied); !strings.Contains(said, "copy: ") {
		t.Error(said)
	}
	close(stop)
	running.Wait()
	old, all := payloads(t, url, topic)
	if len(all) != published {
		t.Fatalf("%d of %d", len(all), published)
	}
	if said := refused(t, access, "backup", "--to", copied); !strings.Contains(said, "is not empty") {
		t.Error(said)
	}
	if said := refused(t, []string{"PARLEY_API_KEY=wrong", "PARLEY_URL=" + url}, "backup", "--to", filepath.Join(folder, "x")); !strings.Contains(said, "API key") {
		t.Error(said)
	}
	if said := refused(t, nil, "backup", "--data", data, "--to", filepath.Join(folder, "x")); !strings.Contains(said, "is used by") || !strings.Contains(said, "--url") {
		t.Error(said)
	}
	token := output(t, nil, "token", "--data", data, "--user", "ann")
	terminate(t, server)

	second := filepath.Join(folder, "second")
	output(t, nil, "restore", copied, "--data", second)
	server, url = serveIn(t, second)
	epoch, list := payloads(t, url, topic)
	if epoch == old || len(list) < before || len(list) > published {
		t.Errorf("epoch %s, was %s; %d messages, %d to %d were acknowledged", epoch, old, len(list), before, published)
	}
	for i, n := range list {
		if n != i {
			t.Fatalf("message %d is %d", i, n)
		}
	}
	publishInt(t, url, topic, -1)
	if again, more := payloads(t, url, topic); again != epoch || len(more) != len(list)+1 {
		t.Errorf("goes on in %s with %d", again, len(more))
	}
	output(t, []string{"PARLEY_URL=" + url, "PARLEY_TOKEN=" + token}, "pub", "public/a", "1") // the keys are the same
	terminate(t, server)

	stopped := filepath.Join(folder, "stopped")
	output(t, nil, "backup", "--data", second, "--to", stopped)
	spoil(t, filepath.Join(stopped, "community.db"))
	if said := refused(t, nil, "restore", stopped, "--data", filepath.Join(folder, "third")); !strings.Contains(said, "community.db is not what was written") {
		t.Error(said)
	}
	if err := os.Remove(filepath.Join(copied, "backup.json")); err != nil {
		t.Fatal(err)
	}
	if said := refused(t, nil, "restore", copied, "--data", filepath.Join(folder, "third")); !strings.Contains(said, "a part of one") {
		t.Error(said)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 3 {
		t.Errorf("what is left: %v %v", left, err)
	}
}

// spoil flips a bit in the middle of a file.
func spoil(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 4
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
