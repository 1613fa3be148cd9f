package store

import (
	"context"
	"errors"
	"fmt"
)

// Backup copies the database in the file path, as it is now, into the file to,
// which has to be empty or not there. Others may use the database meanwhile.
func Backup(ctx context.Context, path, to string) error {
	db, err := connect(path, "deferred", 1)
	if err != nil {
		return err
	}
	if _, err = db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		err = fmt.Errorf("store: back up %s: %w", path, err)
	}
	return errors.Join(err, db.Close())
}

// Check reads all of the database in the file path and returns nil, or what is
// wrong with it.
func Check(ctx context.Context, path string) error {
	db, err := connect(path, "deferred", 1)
	if err != nil {
		return err
	}
	var answer string
	err = db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&answer)
	if err == nil && answer != "ok" {
		err = errors.New(answer)
	}
	return errors.Join(err, db.Close())
}
