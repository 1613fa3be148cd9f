package server_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/protocol/frame"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/server"
)

// Devices have a port of their own when one is configured, with the tokens and
// topics of everybody else.
func TestDevices(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.FrameAddr = "127.0.0.1:0"
	r := start(t, cfg)
	nc, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", r.ports("Frame").String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(frame.AppendCommand(nil, frame.Protobuf, &parleyv1.Command{Id: 1, Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{
		Token: annsToken(t, cfg.Data, time.Hour), Subscriptions: []*parleyv1.Subscribe{{Topic: "public/a"}},
	}}})); err != nil {
		t.Fatal(err)
	}
	reader, buf := frame.Reader{Limit: 1 << 20}, make([]byte, 4096)
	var got []*parleyv1.Reply
	next := func() (*parleyv1.Reply, error) {
		for len(got) == 0 {
			n, err := nc.Read(buf)
			if err != nil {
				return nil, err
			}
			if err := reader.Feed(buf[:n], func(f frame.Frame) error {
				one, err := f.Reply()
				got = append(got, one)
				return err
			}); err != nil {
				return nil, err
			}
		}
		one := got[0]
		got = got[1:]
		return one, nil
	}
	if one, err := next(); err != nil || one.GetConnected().GetUser() != "ann" {
		t.Fatal(one, err)
	}
	if status, _, text := r.do("POST", "/api/v1/publish", `{"topic":"public/a","type":"t","payload":7}`, "Authorization", "Bearer "+apiKey); status != 200 {
		t.Fatal(status, text)
	}
	if one, err := next(); err != nil || string(one.GetMessage().GetPayload()) != "7" {
		t.Fatal(one, err)
	}
	if _, _, text := r.do("GET", "/metrics", ""); !strings.Contains(text, `parley_transport_frames_received_total{transport="frame"} 1`) {
		t.Error("the metrics do not count frames")
	}
	done := make(chan error, 1)
	go func() { done <- r.end() }()
	if one, err := next(); err != nil || one.GetLeaving().GetReason() != "draining" {
		t.Error(one, err)
	}
	if one, err := next(); !errors.Is(err, io.EOF) {
		t.Error(one, err)
	}
	_ = nc.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(r.out.String(), "Frame     "+r.ports("Frame").String()) {
		t.Errorf("the banner does not say where:\n%s", r.out.String())
	}
}

// An address that is taken is no reason to begin.
func TestPortsThatAreTaken(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := settings(t)
	cfg.FrameAddr = l.Addr().String()
	if _, err := server.Open(t.Context(), cfg, server.Options{}); err == nil || !strings.Contains(err.Error(), "--frame-addr") {
		t.Errorf("%v", err)
	}
}
