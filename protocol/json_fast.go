package protocol

import (
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// fastCommand reads the commands that are sent once a message. It reports
// false, having read nothing, for all others.
func (s *scanner) fastCommand(name string, c *parleyv1.Command) bool {
	if s.peek() != '{' {
		return false
	}
	switch name {
	case "publish":
		p := &parleyv1.Publish{}
		s.object(func(key string) { s.publishField(p, key) })
		c.Command = &parleyv1.Command_Publish{Publish: p}
	case "ack":
		a := &parleyv1.Ack{}
		s.object(func(key string) { s.ackField(a, key) })
		c.Command = &parleyv1.Command_Ack{Ack: a}
	case "connect":
		c.Command = &parleyv1.Command_Connect{Connect: s.connect()}
	case "subscribe":
		c.Command = &parleyv1.Command_Subscribe{Subscribe: s.subscribe()}
	case "pong":
		s.skip()
		c.Command = &parleyv1.Command_Pong{Pong: &parleyv1.Pong{}}
	default:
		return false
	}
	return true
}

func (s *scanner) ackField(a *parleyv1.Ack, key string) {
	if s.null() {
		return
	}
	switch key {
	case "topic":
		a.Topic = s.string()
	case "seq":
		a.Seq = s.uint(64)
	case "share":
		a.Share = s.string()
	case "failed":
		a.Failed = s.bool()
	default:
		s.skip()
	}
}

func (s *scanner) publishField(p *parleyv1.Publish, key string) {
	if key == "payload" {
		p.Payload = s.raw()
		return
	}
	if s.null() {
		return
	}
	switch key {
	case "topic":
		p.Topic = s.string()
	case "type":
		p.Type = s.string()
	case "key":
		p.Key = s.string()
	case "qos":
		p.Qos = uint32(s.uint(32))
	case "data":
		p.Data = s.bytes()
	case "headers":
		p.Headers = s.strings()
	case "n":
		p.N = s.uint(64)
	case "retain":
		p.Retain = s.bool()
	case "expires_in_ms":
		p.ExpiresInMs = s.uint(64)
	case "echo":
		echo := s.bool()
		p.Echo = &echo
	default:
		s.skip()
	}
}
