package community

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/sample"
	"github.com/parleyhq/parley/community/store"
)

// adminHandle is the account made at the first start.
const adminHandle = "admin"

// furnished is noted in the audit log when the first start is through.
const furnished = "community.furnished"

// FirstStart is how to sign in for the first time. Password is empty when this is not the first
// start: it is known only then, and should be shown once, to who starts the server.
type FirstStart struct {
	Handle, Password string
}

// Bootstrap furnishes an empty community: an admin with a password of its own, categories, rooms
// and a few sample posts. On a furnished community it does nothing; one whose first start was
// interrupted is furnished to the end, with a new password.
func (a *App) Bootstrap(ctx context.Context) (FirstStart, error) {
	var done bool
	err := a.db.Read(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		done, err = tx.Audited(ctx, furnished)
		return err
	})
	if err != nil || done {
		return FirstStart{}, err
	}
	password := newPassword()
	_, err = a.accounts.Create(ctx, adminHandle, "Admin", password, store.Admin)
	if f, ok := fault.Of(err); ok && f.Text == fault.TakenHandle {
		err = a.accounts.ResetPassword(ctx, adminHandle, password)
	}
	if err != nil {
		return FirstStart{}, err
	}
	if err := sample.Plant(ctx, a.db, a.now()); err != nil {
		return FirstStart{}, err
	}
	err = a.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.Audit(ctx, store.AuditEntry{Action: furnished, Subject: adminHandle, At: a.now().UnixMilli()})
	})
	return FirstStart{Handle: adminHandle, Password: password}, err
}

// newPassword makes 80 bits that can be read out and typed: "k7qd-w2mv-x5bt-r6jh".
func newPassword() string {
	text := strings.ToLower(rand.Text())
	return strings.Join([]string{text[0:4], text[4:8], text[8:12], text[12:16]}, "-")
}
