package mqtt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	oldpaho "github.com/eclipse/paho.mqtt.golang"
)

// The clients that people use just work: Eclipse Paho for MQTT 5 and for 3.1.1,
// and those of Mosquitto, each at every QoS.

func TestPaho5(t *testing.T) {
	s := serve(t)
	ctx, stop := context.WithTimeout(t.Context(), 3*patience)
	defer stop()
	for qos := range byte(3) {
		got := make(chan string, 1)
		c := s.paho5(fmt.Sprintf("c%d", qos), func(p paho.PublishReceived) (bool, error) {
			got <- string(p.Packet.Payload) + p.Packet.Properties.User.Get("k")
			return true, nil
		})
		if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "room/#", QoS: qos}}}); err != nil {
			t.Fatal(err)
		}
		user := paho.UserProperties{{Key: "k", Value: "v"}}
		if _, err := c.Publish(ctx, &paho.Publish{Topic: "room/1", QoS: qos, Payload: []byte("hello "), Properties: &paho.PublishProperties{User: user}}); err != nil {
			t.Fatal(err)
		}
		select {
		case text := <-got:
			if text != "hello v" {
				t.Errorf("QoS %d: %q", qos, text)
			}
		case <-ctx.Done():
			t.Fatalf("QoS %d: nothing came", qos)
		}
		if err := c.Disconnect(&paho.Disconnect{}); err != nil {
			t.Error(err)
		}
		<-c.Done()
	}
}

func (s *server) paho5(id string, received func(paho.PublishReceived) (bool, error)) *paho.Client {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{Conn: conn, OnPublishReceived: []func(paho.PublishReceived) (bool, error){received}})
	ctx, stop := context.WithTimeout(s.t.Context(), patience)
	defer stop()
	ack, err := c.Connect(ctx, &paho.Connect{
		ClientID: id, KeepAlive: 30, CleanStart: true, UsernameFlag: true, Username: "x", PasswordFlag: true, Password: []byte("token of " + id),
	})
	if err != nil || ack.ReasonCode != 0 {
		s.t.Fatalf("%+v, %v", ack, err)
	}
	return c
}

func TestPaho311(t *testing.T) {
	s := serve(t)
	got := make(chan string, 1)
	o := oldpaho.NewClientOptions().AddBroker("tcp://" + s.addr).SetClientID("old").SetUsername("x").SetPassword("token of ann").SetProtocolVersion(4)
	c := oldpaho.NewClient(o)
	done := func(token oldpaho.Token) {
		t.Helper()
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("%v", token.Error())
		}
	}
	done(c.Connect())
	done(c.Subscribe("room/#", 2, func(_ oldpaho.Client, m oldpaho.Message) { got <- string(m.Payload()) }))
	for qos := range byte(3) {
		done(c.Publish("room/1", qos, false, "hello"))
		select {
		case text := <-got:
			if text != "hello" {
				t.Errorf("QoS %d: %q", qos, text)
			}
		case <-time.After(patience):
			t.Fatalf("QoS %d: nothing came", qos)
		}
	}
	c.Disconnect(100)
}

// mosquitto runs one of Mosquitto's clients.
func (s *server) mosquitto(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	host, port, _ := net.SplitHostPort(s.addr)
	return exec.CommandContext(ctx, program, append([]string{"-h", host, "-p", port, "-u", "x", "-P", "token of ann"}, arguments...)...)
}

func TestMosquitto(t *testing.T) {
	if _, err := exec.LookPath("mosquitto_sub"); err != nil {
		t.Skip("mosquitto-clients is not installed: scripts/setup.sh does it")
	}
	s := serve(t)
	ctx, stop := context.WithTimeout(t.Context(), 2*patience)
	defer stop()
	for _, version := range []string{"mqttv311", "mqttv5"} {
		for _, qos := range []string{"0", "1", "2"} {
			lines := "one\ntwo\nthree\n"
			publish := s.mosquitto(ctx, "mosquitto_pub", "-V", version, "-q", qos, "-t", "room/"+version+qos, "-l")
			publish.Stdin = strings.NewReader(lines)
			// -E: it ends as soon as it is subscribed, and its session stays.
			session := []string{"-V", version, "-q", qos, "-c", "-i", version + qos, "-t", "room/" + version + qos}
			if version == "mqttv5" {
				session = append(session, "-x", "60")
			}
			subscribe := s.mosquitto(ctx, "mosquitto_sub", append(session, "-C", "3")...)
			if qos == "0" { // nothing waits for an absent one
				var out bytes.Buffer
				subscribe.Stdout = &out
				if err := subscribe.Start(); err != nil {
					t.Fatal(err)
				}
				s.subscribers(1)
				s.run(publish)
				if err := subscribe.Wait(); err != nil || out.String() != lines {
					t.Errorf("%s, QoS %s: %q, %v", version, qos, out.String(), err)
				}
				continue
			}
			s.run(s.mosquitto(ctx, "mosquitto_sub", append(session, "-E")...))
			s.run(publish)
			if out := s.run(subscribe); out != lines {
				t.Errorf("%s, QoS %s: %q", version, qos, out)
			}
		}
	}
}

func (s *server) run(c *exec.Cmd) string {
	s.t.Helper()
	out, err := c.Output()
	if err != nil {
		text := ""
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			text = string(failed.Stderr)
		}
		s.t.Fatalf("%v: %v %s", c.Args, err, text)
	}
	return string(out)
}

// subscribers waits until somebody is subscribed.
func (s *server) subscribers(n int) {
	s.t.Helper()
	until := time.NewTimer(patience)
	defer until.Stop()
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for {
		subscribed := 0
		for _, d := range s.sessions.Sessions("", 100) {
			subscribed += d.Subscriptions
		}
		if subscribed >= n {
			return
		}
		select {
		case <-ticks.C:
		case <-until.C:
			s.t.Fatal("nobody is subscribed")
		}
	}
}
