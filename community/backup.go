package community

import (
	"context"

	"github.com/parleyhq/parley/community/store"
)

// Backup copies the community in the SQLite file path, as it is now, into the
// file to, which has to be empty or not there. An App may use it meanwhile: its
// work goes on.
func Backup(ctx context.Context, path, to string) error { return store.Backup(ctx, path, to) }

// Check reads all of the community in the SQLite file path and returns nil, or
// what is wrong with it.
func Check(ctx context.Context, path string) error { return store.Check(ctx, path) }
