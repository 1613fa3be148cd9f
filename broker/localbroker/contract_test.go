package localbroker_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/brokertest"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/store/pebblestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	brokertest.Test(t, brokertest.Engine{Open: func(testing.TB) broker.Broker { return localbroker.New(localbroker.Limits{}) }})
}

// TestDisk runs the suite with a log; with a short tail in memory, so that most
// is read from the disk.
func TestDisk(t *testing.T) {
	memory := func(tb testing.TB) broker.Broker {
		tb.Helper()
		return place(tb)()
	}
	brokertest.Test(t, brokertest.Engine{Open: memory, Durable: place})
}

// place returns what opens an engine on a folder.
func place(tb testing.TB) func() broker.Broker {
	tb.Helper()
	dir := tb.TempDir()
	return func() broker.Broker { return open(tb, dir, localbroker.Limits{Tail: 3}) }
}

// owner is an engine that closes its log with itself.
type owner struct {
	*localbroker.Broker

	db *pebblestore.DB
}

// Close is described at broker.Broker.
func (o owner) Close(ctx context.Context) error {
	return errors.Join(o.Broker.Close(ctx), o.db.Close(ctx))
}

func open(tb testing.TB, dir string, l localbroker.Limits) owner {
	tb.Helper()
	db, err := pebblestore.Open(dir, pebblestore.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return owner{localbroker.NewDurable(l, db.Log()), db}
}
