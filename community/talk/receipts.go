package talk

import (
	"cmp"
	"context"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

// Sizes of conversations at which less is told of how far people have got, the same as Parley's.
const (
	mostNamed   = 100
	mostCounted = 1000
)

// What is told of how far people have got.
const (
	toldWho   = "who"
	toldCount = "count"
)

// told is what the members of a conversation are told of how far the others have got: what it
// allows, and not more than its size does. "" is nothing.
func told(c store.Conversation) string {
	switch {
	case c.ReceiptsMode == "none" || c.MemberCount > mostCounted:
		return ""
	case c.ReceiptsMode == toldWho && c.MemberCount <= mostNamed:
		return toldWho
	}
	return toldCount
}

// receipts draws how far the others have got, for who speaks there. Parley tells names to
// everybody who may follow a topic, so it has no part where a conversation allows numbers only.
func (s *Service) receipts(ctx context.Context, tx store.Tx, p Place) (r web.Receipts, err error) {
	if p.Who == nil || told(p.Conversation) == "" {
		return r, nil
	}
	r.Told, r.Live = told(p.Conversation), p.Conversation.ReceiptsMode == toldWho
	if r.Told != toldWho {
		return r, nil
	}
	all, err := tx.Cursors(ctx, p.Conversation.ID, p.Who.ID, mostNamed)
	for _, c := range all {
		r.People = append(r.People, web.Reader{
			ID: c.Handle, Display: cmp.Or(c.DisplayName, c.Handle), Delivered: uint64(c.DeliveredSeq), Read: uint64(c.ReadSeq),
		})
	}
	return r, err
}

// drawn draws messages for a reader, and counts for their own whom they have reached.
func (s *Service) drawn(ctx context.Context, tx store.Tx, p Place, rows []store.Message) ([]web.Message, error) {
	out, err := s.draw.Messages(ctx, tx, p.Conversation, rows, p.Who)
	if err != nil || p.Who == nil || told(p.Conversation) != toldCount {
		return out, err
	}
	all, err := tx.Cursors(ctx, p.Conversation.ID, p.Who.ID, mostCounted)
	if err != nil {
		return nil, err
	}
	for i, m := range rows {
		if m.SenderID != p.Who.ID {
			continue
		}
		out[i].Reach = &web.Reach{}
		for _, c := range all {
			if c.DeliveredSeq >= m.Seq {
				out[i].Reach.Delivered++
			}
			if c.ReadSeq >= m.Seq {
				out[i].Reach.Read++
			}
		}
	}
	return out, nil
}

// Receipt is how far somebody has got in the live topic of a conversation.
type Receipt struct {
	Handle, Conversation string
	Delivered, Read      store.Place
}

// Received moves cursors to where receipts say, in one transaction: it is for many at once. Those
// of people and conversations that keep none are passed over.
func (s *Service) Received(ctx context.Context, rs []Receipt) error {
	if len(rs) == 0 {
		return nil
	}
	err := s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		for _, r := range rs {
			if err := s.received(ctx, tx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.wake()
	}
	return err
}

func (s *Service) received(ctx context.Context, tx store.Tx, r Receipt) error {
	p, err := s.Open(ctx, tx, r.Handle, r.Conversation)
	if _, refused := fault.Of(err); refused || err == nil && (p.Who == nil || p.Conversation.ReceiptsMode != toldWho) {
		return nil // they have left meanwhile, or it is a post
	}
	if err != nil {
		return err
	}
	delivered, err := tx.UpTo(ctx, p.Conversation.ID, r.Delivered)
	if err != nil {
		return err
	}
	if _, err := tx.MoveDelivered(ctx, p.Conversation.ID, p.Who.ID, delivered); err != nil || r.Read.Seq == 0 {
		return err
	}
	read, err := tx.UpTo(ctx, p.Conversation.ID, r.Read)
	if err != nil || read == 0 || p.Member != nil && p.Member.ReadSeq >= read {
		return err
	}
	_, _, err = s.advance(ctx, tx, p, read)
	return err
}
