package records_test

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/records"
)

func drawMessage(t *rapid.T) *message.Message {
	text := rapid.StringN(0, 20, 40)
	m := &message.Message{
		Topic: "a/b", Epoch: "e", Seq: rapid.Uint64Range(1, 1<<60).Draw(t, "seq"), Mark: rapid.Uint64().Draw(t, "mark"), Time: rapid.Int64().Draw(t, "time"),
		ID: text.Draw(t, "id"), Type: text.Draw(t, "type"), From: text.Draw(t, "from"), Except: text.Draw(t, "except"),
		Headers: rapid.MapOfN(text, text, 0, 4).Draw(t, "headers"), Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"),
		Binary: rapid.Bool().Draw(t, "binary"), Retain: rapid.Bool().Draw(t, "retain"), ExpiresAt: rapid.Int64().Draw(t, "expires"),
	}
	m.Prev = m.Seq - rapid.Uint64Range(1, m.Seq).Draw(t, "behind")
	return m
}

func shown(m *message.Message) string {
	c := *m
	headers := maps.Clone(c.Headers)
	c.Headers = nil
	return fmt.Sprintf("%v %q %q", headers, c.Payload, fmt.Sprint(c.ID, c.Topic, c.Type, c.From, c.Epoch, c.Seq, c.Prev, c.Time, c.Binary, c.Mark, c.Retain, c.ExpiresAt, c.Except))
}

// What was written is read, and anything else is damaged: a record with a bit
// that flipped, one cut short, one under another key.
func TestMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, key := drawMessage(t), []byte("ra/b")
		junk, before := rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "junk"), rapid.Uint64Range(0, 1<<50).Draw(t, "before")
		buf, end := records.AppendMessage(junk, key, m, before)
		record := buf[len(junk):]
		h, err := records.ReadHeader(key, record)
		if err != nil || h.End != end || end != before+uint64(len(record)) || h.Mark != m.Mark || h.Time != m.Time {
			t.Fatalf("%+v, end %d, %v", h, end, err)
		}
		got, behind, err := records.DecodeMessage(key, record)
		if err != nil {
			t.Fatal(err)
		}
		got.Topic, got.Epoch, got.Seq, got.Prev = m.Topic, m.Epoch, m.Seq, m.Seq-behind
		if shown(got) != shown(m) {
			t.Fatalf("read\n%s\nwritten\n%s", shown(got), shown(m))
		}
		kept := records.AppendRetained(nil, key, m)
		if got, err = records.DecodeRetained(key, kept); err != nil || shown(got) != shown(m) {
			t.Fatalf("read %v, %v\nwritten\n%s", got, err, shown(m))
		}
		refused(t, record, func(b []byte) error { _, _, err := records.DecodeMessage(key, b); return err })
		refused(t, kept, func(b []byte) error { _, err := records.DecodeRetained(key, b); return err })
		if _, _, err := records.DecodeMessage([]byte("other"), record); err == nil {
			t.Fatal("read under another key")
		}
	})
}

// refused damages a value and checks that it is not read.
func refused(t *rapid.T, value []byte, read func([]byte) error) {
	bit := rapid.IntRange(0, len(value)*8-1).Draw(t, "bit")
	flipped := append([]byte(nil), value...)
	flipped[bit/8] ^= 1 << (bit % 8)
	if read(flipped) == nil {
		t.Fatalf("bit %d of %d bytes flipped, and it was read", bit, len(value))
	}
	if read(value[:rapid.IntRange(0, len(value)-1).Draw(t, "cut")]) == nil {
		t.Fatal("cut short, and it was read")
	}
}

func TestIndexes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.Uint64Range(0, 1<<62)
		meta := records.Meta{
			ID: u.Draw(t, "id"), Epoch: rapid.String().Draw(t, "epoch"), Floor: u.Draw(t, "floor"), FloorEnd: u.Draw(t, "end"),
			Keep: store.Keep{Count: u.Draw(t, "count"), Bytes: int64(u.Draw(t, "bytes")), Age: int64(u.Draw(t, "age"))},
		}
		value := records.AppendMeta(nil, meta)
		if got, err := records.DecodeMeta(value); err != nil || got != meta {
			t.Fatalf("%+v, %v", got, err)
		}
		refused(t, value, func(b []byte) error { _, err := records.DecodeMeta(b); return err })
		key := store.Key{From: rapid.String().Draw(t, "from"), Key: rapid.String().Draw(t, "key"), Until: rapid.Int64().Draw(t, "until")}
		value = records.AppendUse(nil, key.From, key.Key, key.Until)
		if got, err := records.DecodeUse(value); err != nil || got != key {
			t.Fatalf("%+v, %v", got, err)
		}
		refused(t, value, func(b []byte) error { _, err := records.DecodeUse(b); return err })
		p := store.Producer{Epoch: u.Draw(t, "epoch"), N: u.Draw(t, "n"), Seq: u.Draw(t, "seq")}
		value = records.AppendProducer(nil, p.Epoch, p.N, p.Seq)
		if got, err := records.DecodeProducer(value); err != nil || got != p {
			t.Fatalf("%+v, %v", got, err)
		}
		refused(t, value, func(b []byte) error { _, err := records.DecodeProducer(b); return err })
	})
}
