package packet

import "encoding/binary"

// Connect is the first packet of a client (§3.1).
type Connect struct {
	Version     Version
	Clean       bool // clean start; clean session in MQTT 3.1.1
	KeepAlive   uint16
	Properties  Properties
	ClientID    []byte
	Will        Will
	HasWill     bool
	UserName    []byte
	HasUserName bool
	Password    []byte
	HasPassword bool
}

// Will is what is published when its client is gone (§3.1.2.5).
type Will struct {
	QoS        byte
	Retain     bool
	Properties Properties
	Topic      []byte
	Payload    []byte
}

// Bits of the connect flags (§3.1.2.3).
const (
	flagReserved   = 1 << iota
	flagClean      // clean start
	flagWill       // there is a will
	_              // two bits: the QoS of the will
	_              //
	flagWillRetain // retain of the will
	flagPassword
	flagUserName
)

// Decode reads a packet. The version is the one it asks for; everything in c
// refers to body. When the version is not spoken here, c.Version says which it
// was and nothing else was read.
func (c *Connect) Decode(_ Version, _ Header, body []byte) error {
	s := scanner{kind: CONNECT, rest: body}
	name := s.text()
	*c = Connect{Version: Version(s.byte())}
	if s.err != nil {
		return s.err
	}
	if string(name) != "MQTT" || c.Version != V311 && c.Version != V5 {
		return UnsupportedProtocolVersion.Errorf("protocol %.16q, level %d, is not spoken here: use MQTT 3.1.1 or 5 [MQTT-3.1.2-2]", name, c.Version)
	}
	flags := s.byte()
	c.KeepAlive = s.uint16()
	if err := c.takeFlags(flags); s.err == nil && err != nil {
		s.fail(err)
	}
	if c.Version == V5 {
		c.Properties = s.properties(CONNECT)
	}
	c.payload(&s)
	if err := s.end(); err != nil {
		return err
	}
	return c.check()
}

// takeFlags reads the connect flags.
func (c *Connect) takeFlags(flags byte) error {
	c.Clean = flags&flagClean != 0
	c.HasWill = flags&flagWill != 0
	c.Will.QoS, c.Will.Retain = flags>>3&3, flags&flagWillRetain != 0
	c.HasUserName, c.HasPassword = flags&flagUserName != 0, flags&flagPassword != 0
	switch {
	case flags&flagReserved != 0:
		return MalformedPacket.Errorf("the reserved connect flag is set [MQTT-3.1.2-3]")
	case c.Will.QoS == 3:
		return MalformedPacket.Errorf("a will with QoS 3 [MQTT-3.1.2-12]")
	case !c.HasWill && (c.Will.QoS != 0 || c.Will.Retain):
		return MalformedPacket.Errorf("the connect flags describe a will, and there is none [MQTT-3.1.2-11, -13]")
	case c.Version == V311 && c.HasPassword && !c.HasUserName:
		return MalformedPacket.Errorf("a password without a user name (MQTT 3.1.1 [MQTT-3.1.2-22])")
	}
	return nil
}

// payload reads the fields that the flags announce, in the order of §3.1.3.
func (c *Connect) payload(s *scanner) {
	c.ClientID = s.text()
	if c.HasWill {
		if c.Version == V5 {
			c.Will.Properties = s.properties(will)
		}
		c.Will.Topic = s.name()
		c.Will.Payload = s.binary()
	}
	if c.HasUserName {
		c.UserName = s.text()
	}
	if c.HasPassword {
		c.Password = s.binary()
	}
}

// check judges what several fields tell together.
func (c *Connect) check() error {
	if c.Version == V311 && len(c.ClientID) == 0 && !c.Clean {
		return ClientIdentifierNotValid.Errorf("a session that is to last needs a client identifier (MQTT 3.1.1 [MQTT-3.1.3-8])")
	}
	if _, method := c.Properties.Text(AuthenticationMethod); !method {
		if _, data := c.Properties.Text(AuthenticationData); data {
			return ProtocolError.Errorf("authentication data without a method (§3.1.2.11.10)")
		}
	}
	return nil
}

// Append appends the packet to dst; the version is the packet's own.
func (c *Connect) Append(dst []byte, _ Version) []byte {
	dst = open(dst, CONNECT, c.remaining())
	dst = append(appendText(dst, "MQTT"), byte(c.Version), c.flags())
	dst = binary.BigEndian.AppendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = c.Properties.append(dst)
	}
	dst = appendText(dst, c.ClientID)
	if c.HasWill {
		if c.Version == V5 {
			dst = c.Will.Properties.append(dst)
		}
		dst = appendText(appendText(dst, c.Will.Topic), c.Will.Payload)
	}
	if c.HasUserName {
		dst = appendText(dst, c.UserName)
	}
	if c.HasPassword {
		dst = appendText(dst, c.Password)
	}
	return dst
}

func (c *Connect) remaining() int {
	n := 10 + textSize(c.ClientID)
	if c.Version == V5 {
		n += c.Properties.size()
	}
	if c.HasWill {
		if c.Version == V5 {
			n += c.Will.Properties.size()
		}
		n += textSize(c.Will.Topic) + textSize(c.Will.Payload)
	}
	if c.HasUserName {
		n += textSize(c.UserName)
	}
	if c.HasPassword {
		n += textSize(c.Password)
	}
	return n
}

func (c *Connect) flags() byte {
	flags := bit(c.Clean, 1) | bit(c.HasPassword, 6) | bit(c.HasUserName, 7)
	if c.HasWill {
		flags |= flagWill | c.Will.QoS<<3 | bit(c.Will.Retain, 5)
	}
	return flags
}

// Connack is the server's answer to a CONNECT (§3.2).
type Connack struct {
	SessionPresent bool
	Reason         Reason
	Properties     Properties
}

// Decode reads a packet.
func (c *Connack) Decode(v Version, _ Header, body []byte) error {
	s := scanner{kind: CONNACK, rest: body}
	flags := s.byte()
	*c = Connack{SessionPresent: flags&1 != 0}
	if v == V5 {
		c.Reason = s.reason()
		c.Properties = s.properties(CONNACK)
	} else {
		code := s.byte()
		if int(code) >= len(connackCodes) {
			return ProtocolError.Errorf("return code %d has no meaning in a CONNACK (MQTT 3.1.1 §3.2.2.3)", code)
		}
		c.Reason = connackCodes[code]
	}
	if err := s.end(); err != nil {
		return err
	}
	switch {
	case flags > 1:
		return MalformedPacket.Errorf("a reserved flag of a CONNACK is set (§3.2.2.1)")
	case c.SessionPresent && c.Reason != Success:
		return ProtocolError.Errorf("a CONNACK that refuses speaks of a session [MQTT-3.2.2-6]")
	}
	return nil
}

// Append appends the packet to dst.
func (c *Connack) Append(dst []byte, v Version) []byte {
	if v != V5 {
		return append(open(dst, CONNACK, 2), bit(c.SessionPresent, 0), c.Reason.connackCode())
	}
	dst = open(dst, CONNACK, 2+c.Properties.size())
	return c.Properties.append(append(dst, bit(c.SessionPresent, 0), byte(c.Reason)))
}
