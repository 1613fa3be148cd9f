package packet

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

// unhex reads "0004 'MQTT' 05": hexadecimal digits and text in quotes.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		out = append(out, b...)
	}
	return out
}

// packet is what all packets can do.
type packet interface {
	Decode(v Version, h Header, body []byte) error
	Append(dst []byte, v Version) []byte
}

func blank(k Kind) packet {
	switch k {
	case CONNECT:
		return &Connect{}
	case CONNACK:
		return &Connack{}
	case PUBLISH:
		return &Publish{}
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return &Ack{}
	case SUBSCRIBE:
		return &Subscribe{}
	case SUBACK, UNSUBACK:
		return &Granted{}
	case UNSUBSCRIBE:
		return &Unsubscribe{}
	case PINGREQ, PINGRESP:
		return &Signal{}
	case DISCONNECT:
		return &Disconnect{}
	case AUTH:
		return &Auth{}
	}
	return nil
}

// read takes one frame through the Reader and the decoder of its kind.
func read(v Version, limit int, frame []byte) (p packet, err error) {
	r := Reader{Limit: limit}
	err = r.Feed(frame, func(h Header, body []byte) error {
		p = blank(h.Kind())
		return p.Decode(v, h, body)
	})
	return p, err
}

// framed puts the remaining length between the first byte and the rest.
func framed(b []byte) []byte { return append(appendVarint(b[:1:1], uint32(len(b)-1)), b[1:]...) }

const mqtt5 = "10 0004 'MQTT' 05"

// malformed is a packet and the reason code it must get.
type malformed struct {
	name    string
	version Version
	packet  string // without the remaining length
	want    Reason
}

// The first byte: §2.1.2, §2.1.3.
func malformedHeader() []malformed {
	return []malformed{
		{"type 0 §2.1.2", V5, "00", MalformedPacket},
		{"flags of CONNECT [MQTT-2.1.3-1]", V5, "11", MalformedPacket},
		{"flags of PUBACK [MQTT-2.1.3-1]", V5, "42 0001", MalformedPacket},
		{"flags of PUBREL [MQTT-3.6.1-1]", V5, "60 0001", MalformedPacket},
		{"flags of SUBSCRIBE [MQTT-3.8.1-1]", V5, "80 0001 00 0001'a'00", MalformedPacket},
		{"flags of UNSUBSCRIBE [MQTT-3.10.1-1]", V5, "a0 0001 00 0001'a'", MalformedPacket},
		{"flags of PINGREQ [MQTT-2.1.3-1]", V5, "c1", MalformedPacket},
		{"flags of DISCONNECT [MQTT-3.14.1-1]", V5, "e1", MalformedPacket},
		{"flags of AUTH [MQTT-3.15.1-1]", V5, "f1", MalformedPacket},
		{"PUBLISH with QoS 3 [MQTT-3.3.1-4]", V5, "36 0001'a' 0001 00", MalformedPacket},
		{"PUBLISH sent again with QoS 0 [MQTT-3.3.1-2]", V5, "38 0001'a' 00", MalformedPacket},
		{"AUTH in 3.1.1 (3.1.1 §2.2.1)", V311, "f0", MalformedPacket},
	}
}

// CONNECT: §3.1.
func malformedConnect() []malformed {
	return []malformed{
		{"no protocol name §3.1.2.1", V5, "10", MalformedPacket},
		{"another protocol [MQTT-3.1.2-1]", V5, "10 0004'HTTP' 05 02 0000 00 0000", UnsupportedProtocolVersion},
		{"MQTT 3.1 [MQTT-3.1.2-2]", V5, "10 0006'MQIsdp' 03 02 0000 0000", UnsupportedProtocolVersion},
		{"level 6 [MQTT-3.1.2-2]", V5, "10 0004'MQTT' 06 02 0000 00 0000", UnsupportedProtocolVersion},
		{"level 3 of MQTT [MQTT-3.1.2-2]", V5, "10 0004'MQTT' 03 02 0000 0000", UnsupportedProtocolVersion},
		{"reserved flag [MQTT-3.1.2-3]", V5, mqtt5 + "03 0000 00 0000", MalformedPacket},
		{"will QoS without will [MQTT-3.1.2-11]", V5, mqtt5 + "0a 0000 00 0000", MalformedPacket},
		{"will retain without will [MQTT-3.1.2-13]", V5, mqtt5 + "22 0000 00 0000", MalformedPacket},
		{"will QoS 3 [MQTT-3.1.2-12]", V5, mqtt5 + "1e 0000 00 0000 00 0001'w' 0000", MalformedPacket},
		{"password without user, 3.1.1 [MQTT-3.1.2-22]", V311, "10 0004'MQTT' 04 42 0000 0001'c' 0001'p'", MalformedPacket},
		{"no client identifier, 3.1.1 [MQTT-3.1.3-8]", V311, "10 0004'MQTT' 04 00 0000 0000", ClientIdentifierNotValid},
		{"client identifier missing §3.1.3.1", V5, mqtt5 + "02 0000 00", MalformedPacket},
		{"client identifier not UTF-8 [MQTT-3.1.3-4]", V5, mqtt5 + "02 0000 00 0001 ff", MalformedPacket},
		{"user name missing [MQTT-3.1.2-17]", V5, mqtt5 + "82 0000 00 0000", MalformedPacket},
		{"password missing [MQTT-3.1.2-19]", V5, mqtt5 + "42 0000 00 0000", MalformedPacket},
		{"user name not UTF-8 [MQTT-3.1.3-12]", V5, mqtt5 + "82 0000 00 0000 0002 c328", MalformedPacket},
		{"will topic missing [MQTT-3.1.2-9]", V5, mqtt5 + "06 0000 00 0000 00", MalformedPacket},
		{"will topic not UTF-8 [MQTT-3.1.3-11]", V5, mqtt5 + "06 0000 00 0000 00 0001 ff 0000", MalformedPacket},
		{"will topic with wildcard [MQTT-3.3.2-2]", V5, mqtt5 + "06 0000 00 0000 00 0001'#' 0000", TopicNameInvalid},
		{"will topic empty [MQTT-4.7.3-1]", V5, mqtt5 + "06 0000 00 0000 00 0000 0000", TopicNameInvalid},
		{"more than the payload §3.1.3", V5, mqtt5 + "02 0000 00 0000 00", MalformedPacket},
		{"receive maximum 0 §3.1.2.11.3", V5, mqtt5 + "02 0000 03 21 0000 0000", ProtocolError},
		{"receive maximum twice §3.1.2.11.3", V5, mqtt5 + "02 0000 06 21 0001 21 0001 0000", ProtocolError},
		{"maximum packet size 0 §3.1.2.11.4", V5, mqtt5 + "02 0000 05 27 00000000 0000", ProtocolError},
		{"session expiry twice §3.1.2.11.2", V5, mqtt5 + "02 0000 0a 11 00000001 11 00000001 0000", ProtocolError},
		{"request response information 2 §3.1.2.11.6", V5, mqtt5 + "02 0000 02 19 02 0000", ProtocolError},
		{"request problem information 2 §3.1.2.11.7", V5, mqtt5 + "02 0000 02 17 02 0000", ProtocolError},
		{"authentication data alone §3.1.2.11.10", V5, mqtt5 + "02 0000 04 16 0001 00 0000", ProtocolError},
		{"authentication method twice §3.1.2.11.9", V5, mqtt5 + "02 0000 08 15 0001'a' 15 0001'a' 0000", ProtocolError},
		{"topic alias in CONNECT §2.2.2.2", V5, mqtt5 + "02 0000 03 23 0001 0000", MalformedPacket},
		{"will delay outside of the will §2.2.2.2", V5, mqtt5 + "02 0000 05 18 00000001 0000", MalformedPacket},
		{"session expiry in the will §2.2.2.2", V5, mqtt5 + "06 0000 00 0000 05 11 00000001 0001'w' 0000", MalformedPacket},
		{"will delay twice §3.1.3.2.2", V5, mqtt5 + "06 0000 00 0000 0a 18 00000001 18 00000001 0001'w' 0000", ProtocolError},
	}
}

// CONNACK: §3.2.
func malformedConnack() []malformed {
	return []malformed{
		{"reserved flag §3.2.2.1", V5, "20 02 00 00", MalformedPacket},
		{"refused with a session [MQTT-3.2.2-6]", V5, "20 01 87 00", ProtocolError},
		{"reason of another packet §3.2.2.2", V5, "20 00 04 00", ProtocolError},
		{"no properties §3.2.2.3", V5, "20 00 00", MalformedPacket},
		{"maximum QoS 2 §3.2.2.3.4", V5, "20 00 00 02 24 02", ProtocolError},
		{"retain available 2 §3.2.2.3.5", V5, "20 00 00 02 25 02", ProtocolError},
		{"return code 6 (3.1.1 §3.2.2.3)", V311, "20 00 06", ProtocolError},
	}
}

// PUBLISH: §3.3.
func malformedPublish() []malformed {
	return []malformed{
		{"topic missing [MQTT-3.3.2-1]", V5, "30", MalformedPacket},
		{"topic cut §1.5.4", V5, "30 0005'a'", MalformedPacket},
		{"topic with a surrogate [MQTT-1.5.4-1]", V5, "30 0003 eda080 00", MalformedPacket},
		{"topic with an overlong form [MQTT-1.5.4-1]", V5, "30 0002 c080 00", MalformedPacket},
		{"topic with NUL [MQTT-1.5.4-2]", V5, "30 0002'a'00 00", MalformedPacket},
		{"topic with NUL, 3.1.1 [MQTT-1.5.3-2]", V311, "30 0002'a'00", MalformedPacket},
		{"topic with + [MQTT-3.3.2-2]", V5, "30 0003'a/+' 00", TopicNameInvalid},
		{"topic with #, 3.1.1 [MQTT-3.3.2-2]", V311, "30 0003'a/#'", TopicNameInvalid},
		{"no topic and no alias §3.3.2.1", V5, "30 0000 00", ProtocolError},
		{"no topic, 3.1.1 [MQTT-4.7.3-1]", V311, "30 0000", TopicNameInvalid},
		{"packet identifier missing §2.2.1", V5, "32 0001'a'", MalformedPacket},
		{"packet identifier 0 [MQTT-2.2.1-3]", V5, "32 0001'a' 0000 00", ProtocolError},
		{"packet identifier 0, 3.1.1 [MQTT-2.3.1-1]", V311, "34 0001'a' 0000", ProtocolError},
		{"no properties §3.3.2.3", V5, "30 0001'a'", MalformedPacket},
		{"properties longer than the packet §2.2.2.1", V5, "30 0001'a' 05 01 00", MalformedPacket},
		{"property length of five bytes [MQTT-1.5.5-1]", V5, "30 0001'a' 8080808001", MalformedPacket},
		{"property length not the shortest [MQTT-1.5.5-1]", V5, "30 0001'a' 8000", MalformedPacket},
		{"property unknown §2.2.2.2", V5, "30 0001'a' 02 7f 00", MalformedPacket},
		{"property of another packet §2.2.2.2", V5, "30 0001'a' 03 21 0001", MalformedPacket},
		{"property cut §2.2.2.2", V5, "30 0001'a' 03 02 0000", MalformedPacket},
		{"payload format 2 §3.3.2.3.2", V5, "30 0001'a' 02 01 02", ProtocolError},
		{"payload format twice §3.3.2.3.2", V5, "30 0001'a' 04 01 01 01 01", ProtocolError},
		{"message expiry twice §3.3.2.3.3", V5, "30 0001'a' 0a 02 00000001 02 00000001", ProtocolError},
		{"topic alias 0 [MQTT-3.3.2-8]", V5, "30 0001'a' 03 23 0000", TopicAliasInvalid},
		{"topic alias twice §3.3.2.3.4", V5, "30 0001'a' 06 23 0001 23 0002", ProtocolError},
		{"response topic with wildcard [MQTT-3.3.2-14]", V5, "30 0001'a' 04 08 0001'#'", ProtocolError},
		{"response topic not UTF-8 [MQTT-3.3.2-13]", V5, "30 0001'a' 04 08 0001 ff", MalformedPacket},
		{"content type not UTF-8 [MQTT-3.3.2-19]", V5, "30 0001'a' 04 03 0001 ff", MalformedPacket},
		{"user property with NUL [MQTT-1.5.7-1]", V5, "30 0001'a' 07 26 0001'k' 0001 00", MalformedPacket},
		{"user property without value §1.5.7", V5, "30 0001'a' 04 26 0001'k'", MalformedPacket},
		{"subscription identifier 0 §3.3.2.3.8", V5, "30 0001'a' 02 0b 00", ProtocolError},
	}
}

// PUBACK, PUBREC, PUBREL, PUBCOMP: §3.4 to §3.7.
func malformedAck() []malformed {
	return []malformed{
		{"no packet identifier §3.4.2", V5, "40", MalformedPacket},
		{"half a packet identifier §3.4.2", V5, "50 00", MalformedPacket},
		{"packet identifier 0 [MQTT-2.2.1-3]", V5, "62 0000", ProtocolError},
		{"reason of another packet [MQTT-3.4.2-1]", V5, "40 0001 92", ProtocolError},
		{"reason of another packet [MQTT-3.5.2-1]", V5, "50 0001 01", ProtocolError},
		{"reason of another packet [MQTT-3.6.2-1]", V5, "62 0001 80", ProtocolError},
		{"reason of another packet [MQTT-3.7.2-1]", V5, "70 0001 10", ProtocolError},
		{"reason string twice §3.4.2.2.2", V5, "40 0001 00 08 1f 0001'a' 1f 0001'a'", ProtocolError},
		{"session expiry in PUBACK §2.2.2.2", V5, "40 0001 00 05 11 00000001", MalformedPacket},
		{"more than the properties §3.4.2.2", V5, "40 0001 00 00 00", MalformedPacket},
		{"reason in 3.1.1 (3.1.1 §3.4)", V311, "40 0001 00", MalformedPacket},
	}
}

// SUBSCRIBE, SUBACK: §3.8, §3.9.
func malformedSubscribe() []malformed {
	return []malformed{
		{"no filter [MQTT-3.8.3-2]", V5, "82 0001 00", ProtocolError},
		{"no filter, 3.1.1 [MQTT-3.8.3-3]", V311, "82 0001", ProtocolError},
		{"packet identifier 0 [MQTT-2.2.1-3]", V5, "82 0000 00 0001'a'00", ProtocolError},
		{"options missing §3.8.3", V5, "82 0001 00 0001'a'", MalformedPacket},
		{"filter not UTF-8 [MQTT-3.8.3-1]", V5, "82 0001 00 0001 ff 00", MalformedPacket},
		{"reserved options [MQTT-3.8.3-5]", V5, "82 0001 00 0001'a'40", MalformedPacket},
		{"reserved options, 3.1.1 [MQTT-3-8.3-4]", V311, "82 0001 0001'a'04", MalformedPacket},
		{"QoS 3 §3.8.3.1", V5, "82 0001 00 0001'a'03", ProtocolError},
		{"QoS 3, 3.1.1 [MQTT-3-8.3-4]", V311, "82 0001 0001'a'03", MalformedPacket},
		{"retain handling 3 §3.8.3.1", V5, "82 0001 00 0001'a'30", ProtocolError},
		{"no local on a shared one [MQTT-3.8.3-4]", V5, "82 0001 00 000a'$share/g/a'04", ProtocolError},
		{"subscription identifier 0 §3.8.2.1.2", V5, "82 0001 02 0b00 0001'a'00", ProtocolError},
		{"subscription identifier twice §3.8.2.1.2", V5, "82 0001 04 0b01 0b02 0001'a'00", ProtocolError},
		{"subscription identifier of five bytes §1.5.5", V5, "82 0001 06 0b8080808001 0001'a'00", MalformedPacket},
		{"SUBACK without reasons §3.9.3", V5, "90 0001 00", MalformedPacket},
		{"SUBACK with reason of another [MQTT-3.9.3-2]", V5, "90 0001 00 11", ProtocolError},
		{"SUBACK with a code of 5, 3.1.1 [MQTT-3.9.3-2]", V311, "90 0001 87", ProtocolError},
	}
}

// UNSUBSCRIBE, UNSUBACK: §3.10, §3.11.
func malformedUnsubscribe() []malformed {
	return []malformed{
		{"no filter [MQTT-3.10.3-2]", V5, "a2 0001 00", ProtocolError},
		{"no filter, 3.1.1 [MQTT-3.10.3-2]", V311, "a2 0001", ProtocolError},
		{"filter not UTF-8 [MQTT-3.10.3-1]", V5, "a2 0001 00 0001 ff", MalformedPacket},
		{"subscription identifier in UNSUBSCRIBE §2.2.2.2", V5, "a2 0001 02 0b01 0001'a'", MalformedPacket},
		{"UNSUBACK without reasons §3.11.3", V5, "b0 0001 00", MalformedPacket},
		{"UNSUBACK with reasons, 3.1.1 (3.1.1 §3.11.3)", V311, "b0 0001 00", MalformedPacket},
	}
}

// PINGREQ, PINGRESP, DISCONNECT, AUTH: §3.12 to §3.15.
func malformedRest() []malformed {
	return []malformed{
		{"PINGREQ with a body §3.12", V5, "c0 00", MalformedPacket},
		{"PINGRESP with a body §3.13", V5, "d0 00", MalformedPacket},
		{"DISCONNECT with a body, 3.1.1 (3.1.1 §3.14)", V311, "e0 00", MalformedPacket},
		{"DISCONNECT with reason of another [MQTT-3.14.2-1]", V5, "e0 01", ProtocolError},
		{"DISCONNECT with more than its properties §3.14.2", V5, "e0 00 00 00", MalformedPacket},
		{"DISCONNECT with topic alias §2.2.2.2", V5, "e0 00 03 23 0001", MalformedPacket},
		{"AUTH with reason of another [MQTT-3.15.2-1]", V5, "f0 01 00", ProtocolError},
		{"AUTH without properties §3.15.2.1", V5, "f0 18", MalformedPacket},
		{"AUTH with receive maximum §2.2.2.2", V5, "f0 18 03 21 0001", MalformedPacket},
	}
}

func TestMalformed(t *testing.T) {
	for _, tc := range slices.Concat(
		malformedHeader(), malformedConnect(), malformedConnack(), malformedPublish(), malformedAck(), malformedSubscribe(), malformedUnsubscribe(), malformedRest(),
	) {
		t.Run(tc.name, func(t *testing.T) {
			p, err := read(tc.version, 0, framed(unhex(t, tc.packet)))
			bad, ok := errors.AsType[*Error](err)
			if !ok || bad.Reason != tc.want {
				t.Errorf("read as %+v, error %v, want reason code %#02x", p, err, byte(tc.want))
			}
		})
	}
}

// What the fixed header alone tells is told before the body has come.
func TestMalformedLength(t *testing.T) {
	for _, tc := range []struct {
		name  string
		frame string
		want  Reason
	}{
		{"five bytes [MQTT-1.5.5-1]", "30 80808080", MalformedPacket},
		{"not the shortest [MQTT-1.5.5-1]", "c0 8000", MalformedPacket},
		{"larger than allowed §3.1.2.11.4", "30 ffffff7f", PacketTooLarge},
		{"larger by one §3.1.2.11.4", "30 63", PacketTooLarge},
		{"flags before the length [MQTT-2.1.3-1]", "81", MalformedPacket},
	} {
		_, err := read(V5, 100, unhex(t, tc.frame))
		if bad, ok := errors.AsType[*Error](err); !ok || bad.Reason != tc.want {
			t.Errorf("%s: %v, want reason code %#02x", tc.name, err, byte(tc.want))
		}
	}
	if _, err := read(V5, 100, unhex(t, "30 62 0001")); err != nil {
		t.Errorf("a packet of 100 bytes that has begun: %v", err)
	}
}
