// Package store keeps the community's people, conversations and messages in SQL.
//
// One writer connection and a pool of readers share a SQLite file in WAL mode with
// synchronous=FULL: a committed transaction survives a power cut. Queries are plain SQL that
// PostgreSQL reads as well; only the migrations and Open know SQLite.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "modernc.org/sqlite" // the driver registers itself as "sqlite"
)

// readers bounds the connections that read at once. Readers never wait for the writer in WAL mode.
const readers = 8

//go:embed migrations
var migrations embed.FS

// ErrNotFound is returned when the row asked for does not exist.
var ErrNotFound = errors.New("store: no such row")

// DB is the community's database. Safe for concurrent use.
type DB struct {
	writer, reader *bun.DB
}

// Tx holds the queries of one transaction: it sees one state of the data, and belongs to the
// function it was given to. Not safe for concurrent use.
type Tx struct {
	q bun.IDB
}

// Open opens the SQLite file at path, creates it when absent and brings its schema up to date.
// Nobody but its owner can read a file it creates. The caller closes it.
func Open(ctx context.Context, path string) (*DB, error) {
	if err := create(path); err != nil {
		return nil, fmt.Errorf("store: create %s: %w", path, err)
	}
	writer, err := connect(path, "immediate", 1)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, writer.DB); err != nil {
		return nil, errors.Join(fmt.Errorf("store: bring %s up to date: %w", path, err), writer.Close())
	}
	reader, err := connect(path, "deferred", readers)
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	return &DB{writer: writer, reader: reader}, nil
}

// create makes the file before SQLite does, which would let everybody on the machine read it:
// there are password hashes and private messages in it. Its companions get the same mode.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	return f.Close()
}

func connect(path, lock string, conns int) (*bun.DB, error) {
	options := url.Values{
		"_txlock": {lock},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)", "cache_size(-16000)"},
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return bun.NewDB(db, sqlitedialect.New()), nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// Close closes every connection. Transactions that still run fail.
func (db *DB) Close() error {
	return errors.Join(db.reader.Close(), db.writer.Close())
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.reader.PingContext(ctx) }

// Write runs f in one writing transaction. What f did is on disk when Write returns nil, and
// undone when f returns an error, which Write returns unchanged. Writers queue: keep f short, and
// do nothing in it that is not SQL.
func (db *DB) Write(ctx context.Context, f func(context.Context, Tx) error) error {
	return run(ctx, db.writer, f)
}

// Read runs f on one unchanging state of the data, so that a page and the sequence it was
// rendered at belong together.
func (db *DB) Read(ctx context.Context, f func(context.Context, Tx) error) error {
	return run(ctx, db.reader, f)
}

func run(ctx context.Context, db *bun.DB, f func(context.Context, Tx) error) error {
	return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		return f(ctx, Tx{q: tx})
	})
}

// get scans one row into dest and turns "no rows" into ErrNotFound.
func (tx Tx) get(ctx context.Context, dest any, query string, args ...any) error {
	err := tx.q.NewRaw(query, args...).Scan(ctx, dest)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// list scans all rows into dest, a pointer to a slice.
func (tx Tx) list(ctx context.Context, dest any, query string, args ...any) error {
	return tx.q.NewRaw(query, args...).Scan(ctx, dest)
}

// exec runs a statement and returns how many rows it touched.
func (tx Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := tx.q.NewRaw(query, args...).Exec(ctx)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// insert adds row and fills its auto-numbered id.
func (tx Tx) insert(ctx context.Context, row any) error {
	_, err := tx.q.NewInsert().Model(row).Exec(ctx)
	return err
}
