package frame_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/protocol/frame"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// A conversation in both forms: who, what, and back.
func TestConversation(t *testing.T) {
	onEach(t, func(t *testing.T, start func(...parley.Option) *server) {
		s := start()
		parley.On(s.Live, "double", func(_ *parley.Ctx, n int) (int, error) { return 2 * n, nil })
		binary, text := s.connect(frame.Protobuf, &parleyv1.Connect{Token: "ann"}), s.connect(frame.JSON, &parleyv1.Connect{Token: "bob"})
		for _, p := range []*peer{binary, text} {
			p.send(subscribe(2, "public/+"))
			if r := p.reply(); r.GetSubscribed().GetTopic() != "public/+" {
				t.Fatal(r)
			}
		}
		text.send(publication(3, "public/a", `{"n":1}`))
		if r := text.reply(); r.GetMessage().GetFrom() != "bob" && r.GetPublished() == nil {
			t.Fatal(r)
		}
		text.reply() // the other of the two
		if m := binary.reply().GetMessage(); m.GetFrom() != "bob" || string(m.GetPayload()) != `{"n":1}` || m.GetSeq() != 1 {
			t.Fatal(m)
		}
		binary.send(&parleyv1.Command{Id: 4, Command: &parleyv1.Command_Call{Call: &parleyv1.Call{Type: "double", Payload: []byte("21")}}})
		if r := binary.reply(); r.GetId() != 4 || string(r.GetResult().GetPayload()) != "42" {
			t.Fatal(r)
		}
		binary.send(publication(5, "user/bob/x", "1"))
		if r := binary.reply(); r.GetId() != 5 || r.GetError().GetCode() != "forbidden" {
			t.Fatal(r)
		}
		binary.send(&parleyv1.Command{Id: 6, Command: &parleyv1.Command_Ping{Ping: &parleyv1.Ping{}}})
		if r := binary.reply(); r.GetId() != 6 || r.GetPong() == nil {
			t.Fatal(r)
		}
		if st := s.door.Stats(); st.FramesIn < 7 || st.BytesIn == 0 || st.BytesOut == 0 || st.Broken != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A device that was cut off goes on with its session, and with what it missed.
func TestResume(t *testing.T) {
	onEach(t, func(t *testing.T, start func(...parley.Option) *server) {
		s := start()
		p := s.dial(frame.Protobuf)
		p.send(&parleyv1.Command{Id: 1, Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: "ann"}}})
		session := p.reply().GetConnected().GetSession()
		p.send(subscribe(2, "public/a"))
		at := p.reply().GetSubscribed().GetPosition()
		_ = p.Close()
		s.eventually("the first is still there", func(s parley.Stats) bool { return s.Open == 0 })
		s.publish("public/a", "missed")
		p = s.dial(frame.JSON) // another form is another connection's business
		p.send(&parleyv1.Command{Id: 1, Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{
			Token: "ann", Session: session, Subscriptions: []*parleyv1.Subscribe{{Topic: "public/a", Since: at}},
		}}})
		if c := p.reply().GetConnected(); !c.GetResumed() || !c.GetSubscriptions()[0].GetRecovered() {
			t.Fatal(c)
		}
		if m := p.reply().GetMessage(); string(m.GetPayload()) != `"missed"` {
			t.Fatal(m)
		}
	})
}

// What is no frame is answered, and closed; what is one, and no command, is
// answered only.
func TestMalformed(t *testing.T) {
	onEach(t, func(t *testing.T, start func(...parley.Option) *server) {
		s := start(parley.WithLimits(parley.Limits{MessageBytes: 1000}))
		ping := &parleyv1.Command{Id: 9, Command: &parleyv1.Command_Ping{Ping: &parleyv1.Ping{}}}
		damaged := frame.AppendCommand(nil, frame.Protobuf, ping)
		damaged[len(damaged)-1] ^= 1
		for name, tt := range map[string]struct {
			data []byte
			code string
		}{
			"magic":    {[]byte("GET / HTTP/1.1\r\n\r\n"), "bad_protocol"},
			"version":  {[]byte{0x5A, 0x5A, 0x02}, "bad_protocol"},
			"length":   {[]byte{0x5A, 0x5A, 0x01, 5, 0, 0, 3, 233}, "too_large"},
			"checksum": {damaged, "bad_protocol"},
			"form":     {frame.AppendCommand(nil, frame.JSON, ping), "bad_protocol"},
		} {
			p := s.connect(frame.Protobuf, &parleyv1.Connect{Token: "ann"})
			p.write(append(frame.AppendCommand(nil, frame.Protobuf, ping), tt.data...))
			all := p.rest()
			if len(all) != 2 || all[0].GetPong() == nil || all[1].GetError().GetCode() != tt.code {
				t.Errorf("%s: %v", name, all)
			}
			fresh := s.dial(frame.Protobuf) // before it has said anything
			if fresh.write(tt.data); name == "form" {
				continue
			}
			if all := fresh.rest(); len(all) != 1 || all[0].GetError().GetCode() != tt.code {
				t.Errorf("%s at once: %v", name, all)
			}
		}
		p := s.connect(frame.JSON, &parleyv1.Connect{Token: "ann"})
		wrong := frame.AppendCommand(nil, frame.JSON, ping)
		wrong[3] = 5
		p.write(frame.Seal(wrong))
		if r := p.reply(); r.GetError().GetCode() != "bad_request" {
			t.Error(r)
		}
		p.send(ping)
		if r := p.reply(); r.GetPong() == nil {
			t.Error(r)
		}
		if n := s.door.Stats().Broken; n != 9 {
			t.Errorf("%d broken connections", n)
		}
	})
}

// Whatever the network makes of the writes, the commands arrive.
func TestEveryPiece(t *testing.T) {
	onEach(t, func(t *testing.T, start func(...parley.Option) *server) {
		s := start()
		p := s.connect(frame.Protobuf, &parleyv1.Connect{Token: "ann"})
		var all []byte
		for i := range 20 {
			all = frame.AppendCommand(all, frame.Protobuf, publication(uint64(i+2), "public/a", fmt.Sprint(i)))
		}
		for len(all) > 0 {
			n := min(1+len(all)%7, len(all))
			p.write(all[:n])
			all = all[n:]
		}
		for i := range 20 {
			if r := p.reply(); r.GetPublished().GetPosition().GetSeq() != uint64(i+1) || r.GetId() != uint64(i+2) {
				t.Fatal(r)
			}
		}
	})
}

// Every end is told before it comes.
func TestEnds(t *testing.T) {
	onEach(t, func(t *testing.T, start func(...parley.Option) *server) {
		s := start(parley.WithHeartbeat(time.Second, time.Second), parley.WithLimits(parley.Limits{ConnectTimeout: 300 * time.Millisecond, ConnectionsNode: 4}))
		mute := s.dial(frame.Protobuf)
		stranger := s.dial(frame.JSON)
		stranger.send(&parleyv1.Command{Id: 1, Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: "wrong"}}})
		if all := stranger.rest(); len(all) != 2 || all[0].GetError().GetCode() != "unauthorized" || all[1].GetLeaving() == nil {
			t.Errorf("%v", all)
		}
		if all := mute.rest(); len(all) != 1 || all[0].GetLeaving().GetReason() != "connect_timeout" {
			t.Errorf("%v", all)
		}
		deaf := s.connect(frame.Protobuf, &parleyv1.Connect{Token: "ann"})
		if all := deaf.rest(); len(all) < 2 || all[0].GetPing() == nil || all[len(all)-1].GetLeaving().GetReason() != "ping_timeout" {
			t.Errorf("%v", all)
		}
		s.eventually("some are still there", func(s parley.Stats) bool { return s.Open == 0 })
		banned := s.connect(frame.Protobuf, &parleyv1.Connect{Token: "ann"})
		if n, err := s.Disconnect(t.Context(), "ann", "not you"); n != 1 || err != nil {
			t.Error(n, err)
		}
		if all := banned.rest(); len(all) != 2 || all[1].GetLeaving().GetReason() != "disconnected" {
			t.Errorf("%v", all)
		}
		s.eventually("some are still there", func(s parley.Stats) bool { return s.Open == 0 })
		for range 4 {
			s.connect(frame.JSON, &parleyv1.Connect{Token: "ann"})
		}
		if all := s.dial(frame.Protobuf).rest(); len(all) != 1 || all[0].GetError().GetCode() != "overloaded" {
			t.Errorf("%v", all)
		}
	})
}

// At the end clients are told when to come back.
func TestShutdown(t *testing.T) {
	onEach(t, func(t *testing.T, start func(...parley.Option) *server) {
		s := start()
		peers := make([]*peer, 5)
		for i := range peers {
			peers[i] = s.connect(frame.Protobuf, &parleyv1.Connect{Token: "ann"})
		}
		s.stop()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		for _, p := range peers {
			if all := p.rest(); len(all) != 1 || all[0].GetLeaving().GetReason() != "draining" {
				t.Errorf("%v", all)
			}
			_ = p.Close()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Who reads nothing is cut, unless the topic says otherwise: then it is told
// what it was not sent.
func TestPressure(t *testing.T) {
	onEach(t, func(t *testing.T, start func(...parley.Option) *server) {
		s := start(parley.WithLimits(parley.Limits{QueueBytes: 128 << 10}),
			parley.WithTopic("public/cut", parley.TopicSettings{}), parley.WithTopic("public/drop", parley.TopicSettings{Pressure: parley.PressureDropOldest}))
		padding := strings.Repeat("x", 16<<10)
		for _, f := range []frame.Form{frame.Protobuf, frame.JSON} {
			p := s.connect(f, &parleyv1.Connect{Token: "ann"})
			p.send(subscribe(2, "public/drop"))
			p.reply()
			const messages = 1500
			began := uint64(0)
			for range messages {
				s.publish("public/drop", padding)
			}
			seq, skipped := uint64(0), 0
			for {
				r := p.reply()
				if gone := r.GetSkipped(); gone != nil {
					seq, skipped = gone.GetSeq(), skipped+1
					continue
				}
				m := r.GetMessage()
				if began == 0 {
					began = m.GetSeq()
					seq = began - 1
				}
				if seq++; m.GetSeq() != seq {
					t.Fatalf("%d follows %d", m.GetSeq(), seq-1)
				}
				if m.GetSeq() == began+messages-1 {
					break
				}
			}
			if skipped == 0 {
				t.Error("nothing was skipped")
			}
			_ = p.Close()
		}
		slow := s.connect(frame.Protobuf, &parleyv1.Connect{Token: "ann"})
		slow.send(subscribe(2, "public/cut"))
		slow.reply()
		for s.Stats().Ended["slow_consumer"] == 0 {
			s.publish("public/cut", padding)
		}
		s.eventually("the slow one is still there", func(s parley.Stats) bool { return s.Open == 0 })
	})
}

// However devices come and go, nothing of them stays behind.
func TestChurn(t *testing.T) {
	onEach(t, func(t *testing.T, start func(...parley.Option) *server) {
		s := start(parley.WithLimits(parley.Limits{ResumeWindow: time.Nanosecond}))
		round := func() {
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					for n := range 25 {
						p := s.dial([]frame.Form{frame.Protobuf, frame.JSON}[n%2])
						hello := frame.AppendCommand(nil, p.form, &parleyv1.Command{Id: 1, Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: fmt.Sprint("u", i)}}})
						switch n % 5 {
						case 0: // before it has said anything
						case 1: // in the middle of it
							p.write(hello[:len(hello)/2])
						case 2: // with damage
							hello[9] ^= 1
							p.write(hello)
						default:
							p.write(append(hello, frame.AppendCommand(nil, p.form, subscribe(2, fmt.Sprint("public/", n)))...))
							_, _ = p.next()
						}
						_ = p.Close()
					}
				})
			}
			all.Wait()
			s.eventually("sessions are left", func(s parley.Stats) bool { return s.Open == 0 && s.Users == 0 && s.Detached == 0 })
		}
		round() // what is made once is made
		goroutines, files := runtime.NumGoroutine(), descriptors(t)
		round()
		const workers = 16 // that may wait for work
		s.eventually("something is left", func(parley.Stats) bool {
			return runtime.NumGoroutine() <= goroutines+workers && descriptors(t) <= files
		})
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(list)
}

// A message has one encoding for all receivers of one form.
func TestReceiversShareFrames(t *testing.T) {
	s := start(t, func(l net.Listener) net.Listener { return l })
	const receivers = 50
	all := make([]*peer, receivers)
	for i := range all {
		all[i] = s.connect([]frame.Form{frame.Protobuf, frame.JSON}[i%2], &parleyv1.Connect{Token: "ann"})
		all[i].send(subscribe(2, "public/a"))
		all[i].reply()
	}
	s.publish("public/a", json.RawMessage(`{"n":1}`))
	for _, p := range all {
		if m := p.reply().GetMessage(); string(m.GetPayload()) != `{"n":1}` {
			t.Fatal(m)
		}
	}
}
