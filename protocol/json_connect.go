package protocol

import (
	"strconv"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// What every connection says and hears once is written out by hand as well:
// when a node comes back, all its clients say it at the same time.

func (s *scanner) connect() *parleyv1.Connect {
	c := &parleyv1.Connect{}
	s.object(func(key string) {
		if s.null() {
			return
		}
		switch key {
		case "token":
			c.Token = s.string()
		case "session":
			c.Session = s.string()
		case "device":
			c.Device = s.string()
		case "clean":
			c.Clean = s.bool()
		case "producer":
			c.Producer = s.string()
		case "expiry_seconds":
			c.ExpirySeconds = s.uint(64)
		case "subscriptions":
			s.array(func() { c.Subscriptions = append(c.Subscriptions, s.subscribe()) })
		default:
			s.skip()
		}
	})
	return c
}

func (s *scanner) subscribe() *parleyv1.Subscribe {
	c := &parleyv1.Subscribe{}
	s.object(func(key string) {
		if s.null() {
			return
		}
		switch key {
		case "topic":
			c.Topic = s.string()
		case "qos":
			c.Qos = uint32(s.uint(32))
		case "since":
			c.Since = s.position()
		case "presence":
			c.Presence = s.bool()
		case "receipts":
			c.Receipts = s.bool()
		default:
			s.skip()
		}
	})
	return c
}

func (s *scanner) position() *parleyv1.Position {
	p := &parleyv1.Position{}
	s.object(func(key string) {
		switch {
		case s.null():
		case key == "epoch":
			p.Epoch = s.string()
		case key == "seq":
			p.Seq = s.uint(64)
		default:
			s.skip()
		}
	})
	return p
}

// appendFast writes the replies that are sent once a command of a busy client.
// It reports false, having written nothing, for all others.
func appendFast(dst []byte, r *parleyv1.Reply) ([]byte, bool) {
	start := len(dst)
	dst = append(dst, '{')
	if r.GetId() != 0 {
		dst = append(dst, `"id":`...)
		dst = strconv.AppendUint(dst, r.GetId(), 10)
		dst = append(dst, ',')
	}
	ok := true
	switch r := r.GetReply().(type) {
	case *parleyv1.Reply_Published:
		dst = append(dst, `"published":`...)
		dst = appendPublished(dst, r.Published)
	case *parleyv1.Reply_Subscribed:
		dst = append(dst, `"subscribed":`...)
		dst, ok = appendSubscribed(dst, r.Subscribed)
	case *parleyv1.Reply_Connected:
		dst = append(dst, `"connected":`...)
		dst, ok = appendConnected(dst, r.Connected)
	default:
		ok = false
	}
	if !ok {
		return dst[:start], false
	}
	return append(dst, '}'), true
}

func appendConnected(dst []byte, c *parleyv1.Connected) ([]byte, bool) {
	if c == nil || c.GetProducer() != nil {
		return dst, false
	}
	dst = append(dst, '{')
	if c.GetSession() != "" {
		dst = append(dst, `"session":`...)
		dst = append(appendString(dst, c.GetSession()), ',')
	}
	if c.GetUser() != "" {
		dst = append(dst, `"user":`...)
		dst = append(appendString(dst, c.GetUser()), ',')
	}
	dst = append(dst, `"resumed":`...)
	dst = strconv.AppendBool(dst, c.GetResumed())
	dst = append(dst, `,"ping_seconds":`...)
	dst = strconv.AppendUint(dst, uint64(c.GetPingSeconds()), 10)
	dst = appendText(dst, `,"node":`, c.GetNode())
	if len(c.GetSubscriptions()) > 0 {
		dst = append(dst, `,"subscriptions":[`...)
		for i, sub := range c.GetSubscriptions() {
			if i > 0 {
				dst = append(dst, ',')
			}
			var ok bool
			if dst, ok = appendSubscribed(dst, sub); !ok {
				return dst, false
			}
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `,"expires_in_ms":`...)
	dst = strconv.AppendUint(dst, c.GetExpiresInMs(), 10)
	dst = append(dst, `,"expiry_seconds":`...)
	dst = strconv.AppendUint(dst, c.GetExpirySeconds(), 10)
	return append(dst, '}'), true
}

func appendSubscribed(dst []byte, c *parleyv1.Subscribed) ([]byte, bool) {
	if c == nil || c.GetError() != nil {
		return dst, false
	}
	dst = append(dst, '{')
	if c.GetTopic() != "" {
		dst = append(dst, `"topic":`...)
		dst = append(appendString(dst, c.GetTopic()), ',')
	}
	dst = appendPosition(dst, c.GetPosition())
	dst = append(dst, `"recovered":`...)
	dst = strconv.AppendBool(dst, c.GetRecovered())
	dst = append(dst, `,"qos":`...)
	dst = strconv.AppendUint(dst, uint64(c.GetQos()), 10)
	if c.GetResumed() {
		dst = append(dst, `,"resumed":true`...)
	}
	return append(dst, '}'), true
}

func appendPublished(dst []byte, p *parleyv1.Published) []byte {
	dst = appendPosition(append(dst, '{'), p.GetPosition())
	dst = append(dst, `"duplicate":`...)
	dst = strconv.AppendBool(dst, p.GetDuplicate())
	return append(dst, '}')
}

// appendPosition writes a position and the comma behind it; nothing for none.
func appendPosition(dst []byte, at *parleyv1.Position) []byte {
	if at == nil {
		return dst
	}
	dst = append(dst, `"position":{`...)
	if at.GetEpoch() != "" {
		dst = append(dst, `"epoch":`...)
		dst = append(appendString(dst, at.GetEpoch()), ',')
	}
	dst = append(dst, `"seq":`...)
	dst = strconv.AppendUint(dst, at.GetSeq(), 10)
	return append(dst, '}', ',')
}
