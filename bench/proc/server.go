package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	patience = 30 * time.Second // for a start, and for an end
	kept     = 64 << 10         // bytes of what the server says
)

// Server is a child process that runs a server.
type Server struct {
	URL string

	cmd   *exec.Cmd
	said  *listener
	ended chan struct{}
	err   error // how it ended; valid once ended is closed
}

// Start runs a command and waits until its output matches pattern, whose first
// group is the address it serves. The caller stops the server, unless Start
// failed.
func Start(ctx context.Context, command []string, environ []string, pattern *regexp.Regexp) (*Server, error) {
	s := &Server{
		cmd:   &exec.Cmd{Path: command[0], Args: append([]string{"parley"}, command[1:]...), Env: environ},
		said:  &listener{pattern: pattern, found: make(chan string, 1)},
		ended: make(chan struct{}),
	}
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	s.cmd.WaitDelay = patience
	apart(s.cmd)
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a server: %w", err)
	}
	go func() {
		defer close(s.ended)
		s.err = s.cmd.Wait()
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	var err error
	select {
	case s.URL = <-s.said.found:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("the server ended while it started: %w\n%s", s.err, s.said)
	case <-late.C:
		err = fmt.Errorf("the server did not say where it listens within %v", patience)
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, s.Stop())
}

// PID returns the number of the process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop asks the server to end, and kills it when it takes too long. An end that
// was not orderly is an error that shows the last the server said. A second
// call tells the same.
func (s *Server) Stop() error {
	_ = terminate(s.cmd.Process) // it may have ended already
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
		_ = s.cmd.Process.Kill() // as above
		<-s.ended
	}
	if s.err != nil {
		return fmt.Errorf("the server: %w\n%s", s.err, s.said)
	}
	return nil
}

// listener keeps the end of what a process says and finds the first match of
// pattern in it.
type listener struct {
	pattern *regexp.Regexp
	found   chan string // holds one

	mu   sync.Mutex
	text []byte
	done bool
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if !l.done {
		// Only whole lines: the end of an address may be in the next write.
		whole := l.text[:bytes.LastIndexByte(l.text, '\n')+1]
		if m := l.pattern.FindSubmatch(whole); m != nil {
			l.done = true
			l.found <- string(m[1])
		}
	}
	if over := len(l.text) - kept; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(p), nil
}

func (l *listener) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.text))
}
