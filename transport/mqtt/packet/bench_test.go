package packet

import "testing"

func published() Publish {
	return Publish{
		QoS: 1, ID: 7, Topic: []byte("sensors/hall/temperature"), Payload: make([]byte, 100),
		Properties: Properties(nil).AppendNumber(MessageExpiryInterval, 60).AppendUser("unit", "celsius"),
	}
}

func BenchmarkPublishDecode(b *testing.B) {
	p := published()
	for _, v := range []Version{V311, V5} {
		frame := p.Append(nil, v)
		b.Run(versionName(v), func(b *testing.B) {
			b.ReportAllocs()
			var r Reader
			var got Publish
			handle := func(h Header, body []byte) error { return got.Decode(v, h, body) }
			for b.Loop() {
				if err := r.Feed(frame, handle); err != nil {
					b.Fatal(err)
				}
			}
			if len(got.Payload) != 100 {
				b.Fatal(len(got.Payload))
			}
		})
	}
}

func BenchmarkPublishEncode(b *testing.B) {
	p := published()
	for _, v := range []Version{V311, V5} {
		b.Run(versionName(v), func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, p.Size(v))
			for b.Loop() {
				buf = p.Append(buf[:0], v)
			}
		})
	}
}

func BenchmarkProperties(b *testing.B) {
	p := published().Properties
	b.ReportAllocs()
	for b.Loop() {
		if p.Number(MessageExpiryInterval, 0) != 60 || p.Number(TopicAlias, 0) != 0 {
			b.Fatal("misread")
		}
		for _, value := range p.User() {
			if len(value) != 7 {
				b.Fatal("misread")
			}
		}
	}
}

func versionName(v Version) string {
	if v == V5 {
		return "5"
	}
	return "3.1.1"
}

// What a connection does with every message must not allocate.
func TestPublishDoesNotAllocate(t *testing.T) {
	p := published()
	frame := p.Append(nil, V5)
	var r Reader
	var got Publish
	handle := func(h Header, body []byte) error { return got.Decode(V5, h, body) }
	buf := make([]byte, 0, len(frame))
	if n := testing.AllocsPerRun(100, func() {
		if err := r.Feed(frame, handle); err != nil {
			t.Fatal(err)
		}
		if got.Properties.Number(MessageExpiryInterval, 0) != 60 {
			t.Fatal("misread")
		}
		buf = got.Append(buf[:0], V5)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
