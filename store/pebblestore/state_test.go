package pebblestore

import (
	"path/filepath"
	"testing"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/storetest"
)

func TestStateContract(t *testing.T) {
	storetest.Test(t, storetest.Engine{Durable: true, Open: func(tb testing.TB, dir string) store.Store {
		tb.Helper()
		db, err := Open(filepath.Join(dir, "store"), Options{Log: quiet()})
		if err != nil {
			tb.Fatal(err)
		}
		return db
	}})
}
