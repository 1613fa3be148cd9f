package pebblestore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store/pebblestore"
	"github.com/parleyhq/parley/topic"
)

var errDisk = errors.New("the disk is on fire")

// A disk fails while 16 publish: everybody is answered, nothing is accepted
// that is not on the disk, reads go on, and the next process has what was accepted.
func TestBrokerWhenTheDiskFails(t *testing.T) {
	for what, fails := range map[string]func(errorfs.Op) bool{
		"sync": func(op errorfs.Op) bool {
			return wal(op) && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
		},
		"write": func(op errorfs.Op) bool { return wal(op) && op.Kind == errorfs.OpFileWrite },
		"new log": func(op errorfs.Op) bool {
			return wal(op) && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite)
		},
	} {
		t.Run(what, func(t *testing.T) {
			memory := vfs.NewCrashableMem()
			var broken atomic.Bool
			disk := errorfs.Wrap(memory, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && fails(op) {
					return errDisk
				}
				return nil
			}))
			db := pebblestore.OpenOn(t, disk)
			e := localbroker.NewDurable(localbroker.Limits{Tail: 5}, db.Log())
			if err := e.Start(&handler{}); err != nil {
				t.Fatal(err)
			}
			accepted := publishUntilRefused(t, e, func() { broken.Store(true) })
			after := memory.CrashClone(vfs.CrashCloneCfg{})
			if err := e.Check(t.Context()); !errors.Is(err, broker.ErrFailed) {
				t.Errorf("check: %v", err)
			}
			checkAccepted(t, e, accepted)
			if err := errors.Join(e.Close(context.Background()), db.Close(context.Background())); err != nil {
				t.Errorf("close: %v", err)
			}
			db = pebblestore.OpenOn(t, after)
			e = localbroker.NewDurable(localbroker.Limits{}, db.Log())
			if err := e.Start(&handler{}); err != nil {
				t.Fatal(err)
			}
			checkAccepted(t, e, accepted)
			if err := errors.Join(e.Close(context.Background()), db.Close(context.Background())); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func wal(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") }

const failTopics = 4

// publishUntilRefused publishes with 16 publishers until each is refused, and
// breaks the disk meanwhile. It returns the seqs that were accepted, by topic.
func publishUntilRefused(t *testing.T, e *localbroker.Broker, breakDisk func()) map[string][]uint64 {
	t.Helper()
	accepted := map[string][]uint64{}
	var mu sync.Mutex
	var publishers sync.WaitGroup
	var total atomic.Int64
	for p := range 16 {
		publishers.Go(func() {
			for {
				name := fmt.Sprint("t/", p%failTopics)
				m := &message.Message{Topic: name, Payload: []byte(strings.Repeat("x", 5000))}
				r, err := broker.Publish(t.Context(), e, m, broker.Options{History: 1 << 20, Durability: broker.SyncAlways})
				if err != nil {
					if !errors.Is(err, broker.ErrFailed) {
						t.Errorf("refused with %v", err)
					}
					return
				}
				mu.Lock()
				accepted[name] = append(accepted[name], r.Position.Seq)
				mu.Unlock()
				if total.Add(1) == 100 {
					breakDisk()
				}
			}
		})
	}
	publishers.Wait()
	return accepted
}

// checkAccepted reads what was accepted.
func checkAccepted(t *testing.T, e *localbroker.Broker, accepted map[string][]uint64) {
	t.Helper()
	for name, seqs := range accepted {
		there := map[uint64]bool{}
		for after, more := uint64(0), true; more; {
			p, err := e.History(t.Context(), topic.Name(name), broker.Query{After: after, Limit: 50})
			if err != nil || p.Gap {
				t.Fatalf("%s: gap %v, %v", name, p.Gap, err)
			}
			for _, m := range p.Messages {
				there[m.Seq] = true
				after = m.Seq
			}
			more = p.More
		}
		for _, seq := range seqs {
			if !there[seq] {
				t.Errorf("%s: %d was accepted and is not there", name, seq)
			}
		}
	}
}
