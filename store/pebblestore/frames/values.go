package frames

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// Receipt is the value of a receipt; who and where is in its key.
func Receipt(r *store.Receipt) []byte {
	buf := wire.AppendText(make([]byte, 0, 48), r.Epoch)
	return wire.Sealed(binary.AppendUvarint(binary.AppendUvarint(buf, r.Delivered), r.Read))
}

// LoadReceipt reads what Receipt wrote.
func LoadReceipt(topic, user string, value []byte) (store.Receipt, error) {
	body, ok := wire.Verified(value)
	c := wire.Reader{Rest: body}
	one := store.Receipt{Topic: topic, User: user, Epoch: c.Text(), Delivered: c.Uvarint(), Read: c.Uvarint()}
	if !ok || c.Bad {
		return store.Receipt{}, fmt.Errorf("the receipt of %s in %s: %w", user, topic, wire.ErrDamaged)
	}
	return one, nil
}

// Group is the value of a group; numbers beyond Done are written as what they
// exceed it by, which is little.
func Group(g *store.Group) []byte {
	buf := binary.AppendUvarint(wire.AppendText(nil, g.Done.Epoch), g.Done.Seq)
	buf = binary.AppendUvarint(buf, uint64(len(g.Beyond)))
	for _, seq := range g.Beyond {
		buf = binary.AppendUvarint(buf, seq-g.Done.Seq)
	}
	buf = binary.AppendUvarint(buf, uint64(len(g.Attempts)))
	for seq, n := range g.Attempts {
		buf = binary.AppendUvarint(binary.AppendUvarint(buf, seq-g.Done.Seq), uint64(n))
	}
	return wire.Sealed(buf)
}

// LoadGroup reads what Group wrote.
func LoadGroup(name, topic string, value []byte) (store.Group, error) {
	body, ok := wire.Verified(value)
	c := wire.Reader{Rest: slices.Clone(body)}
	g := store.Group{Name: name, Topic: topic}
	g.Done.Epoch, g.Done.Seq = c.Text(), c.Uvarint()
	for n := c.Uvarint(); n > 0 && !c.Bad; n-- {
		g.Beyond = append(g.Beyond, g.Done.Seq+c.Uvarint())
	}
	for n := c.Uvarint(); n > 0 && !c.Bad; n-- {
		if g.Attempts == nil {
			g.Attempts = make(map[uint64]uint32)
		}
		seq := g.Done.Seq + c.Uvarint()
		g.Attempts[seq] = uint32(c.Uvarint())
	}
	if !ok || c.Bad {
		return store.Group{}, fmt.Errorf("the group %s in %s: %w", name, topic, wire.ErrDamaged)
	}
	return g, nil
}
