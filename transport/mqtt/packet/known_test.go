package packet

import (
	"testing"

	mochi "github.com/mochi-mqtt/server/v2/packets"
)

// Mochi's table of packets, good and bad ones, with what is in them: what it
// calls good must be read as the same here, however strict we are.
func TestMochisTable(t *testing.T) {
	stricter := map[string]bool{ // what is no packet of either version
		"mqtt v3.1": true, "dup": true, "miscellaneous protocol violation": true, "bad protocol version": true, "bad client id": true,
		"server unavailable": true, "bad username or password": true, "not authorised": true,
	}
	good := 0
	for kind, cases := range mochi.TPacketData {
		for _, tc := range cases {
			if tc.FailFirst != nil || tc.Expect != nil || tc.Group != "" || tc.Packet == nil || len(tc.RawBytes) == 0 {
				continue
			}
			k, v := Kind(kind), V311
			if tc.Packet.ProtocolVersion == byte(V5) {
				v = V5
			}
			if k == PINGREQ || k == PINGRESP || v == V311 && stricter[tc.Desc] {
				continue
			}
			p, err := read(v, 0, tc.RawBytes)
			if err != nil {
				t.Errorf("%s, %s (% x): %v", k, tc.Desc, tc.RawBytes, err)
				continue
			}
			if got, want := lines(show(p)), lines(showMochi(k, tc.Packet)); got != want {
				t.Errorf("%s, %s\nread as\n%s\nmochi has\n%s", k, tc.Desc, got, want)
			}
			good++
		}
	}
	if good < 40 {
		t.Errorf("only %d packets were compared", good)
	}
}
