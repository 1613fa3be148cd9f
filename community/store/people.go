package store

import (
	"context"

	"github.com/uptrace/bun"
)

// Role is what a person may do on the whole site.
type Role string

// Roles, from least to most power.
const (
	Member    Role = "member"
	Moderator Role = "moderator"
	Admin     Role = "admin"
)

// Roles lists all roles, from least to most power.
func Roles() []Role { return []Role{Member, Moderator, Admin} }

// User is a person. Handle is their name in addresses, mentions and on the wire; it never changes.
type User struct {
	bun.BaseModel `bun:"table:users"`

	ID           int64  `bun:"id,pk,autoincrement"`
	Handle       string `bun:"handle"`
	DisplayName  string `bun:"display_name"`
	PasswordHash string `bun:"password_hash"`
	Role         Role   `bun:"role"`
	Language     string `bun:"language"`
	Theme        string `bun:"theme"`
	Bio          string `bun:"bio"`
	CreatedAt    int64  `bun:"created_at"`
	SeenAt       int64  `bun:"seen_at"`
	BannedAt     *int64 `bun:"banned_at"`
}

// Session is one signed-in browser. TokenHash is the SHA-256 of what its cookie holds.
type Session struct {
	bun.BaseModel `bun:"table:sessions"`

	ID        int64  `bun:"id,pk,autoincrement"`
	TokenHash string `bun:"token_hash"`
	UserID    int64  `bun:"user_id"`
	Address   string `bun:"address"`
	Agent     string `bun:"agent"`
	CreatedAt int64  `bun:"created_at"`
	SeenAt    int64  `bun:"seen_at"`
	ExpiresAt int64  `bun:"expires_at"`
}

// AuditEntry is one act of somebody with power, or one that touches an account.
type AuditEntry struct {
	bun.BaseModel `bun:"table:audit_log"`

	ID      int64  `bun:"id,pk,autoincrement"`
	ActorID *int64 `bun:"actor_id"`
	Action  string `bun:"action"`
	Subject string `bun:"subject"`
	Detail  string `bun:"detail"`
	At      int64  `bun:"at"`
}

// AddUser inserts u and fills u.ID. It reports false, and adds nothing, when the handle is taken.
func (tx Tx) AddUser(ctx context.Context, u *User) (bool, error) {
	result, err := tx.q.NewInsert().Model(u).On("CONFLICT (handle) DO NOTHING").Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// CountUsers counts all accounts.
func (tx Tx) CountUsers(ctx context.Context) (n int, err error) {
	err = tx.get(ctx, &n, `SELECT COUNT(*) FROM users`)
	return n, err
}

// SessionAlive reports whether a session exists, has not expired at now, and is not of somebody
// banned.
func (tx Tx) SessionAlive(ctx context.Context, id, now int64) (alive bool, err error) {
	err = tx.get(ctx, &alive, `
		SELECT EXISTS (SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE s.id = ? AND s.expires_at > ? AND u.banned_at IS NULL)`, id, now)
	return alive, err
}

// NobodySignedIn reports whether no session was ever opened: the installation is fresh.
func (tx Tx) NobodySignedIn(ctx context.Context) (fresh bool, err error) {
	err = tx.get(ctx, &fresh, `SELECT NOT EXISTS (SELECT 1 FROM sessions)`)
	return fresh, err
}

// User finds a person by id.
func (tx Tx) User(ctx context.Context, id int64) (u User, err error) {
	err = tx.get(ctx, &u, `SELECT * FROM users WHERE id = ?`, id)
	return u, err
}

// UserByHandle finds a person by handle, which must be in its stored (lower) case.
func (tx Tx) UserByHandle(ctx context.Context, handle string) (u User, err error) {
	err = tx.get(ctx, &u, `SELECT * FROM users WHERE handle = ?`, handle)
	return u, err
}

// UsersByHandle finds those of the handles that exist.
func (tx Tx) UsersByHandle(ctx context.Context, handles []string) (us []User, err error) {
	if len(handles) == 0 {
		return nil, nil
	}
	err = tx.list(ctx, &us, `SELECT * FROM users WHERE handle IN (?) ORDER BY id`, bun.List(handles))
	return us, err
}

// UsersByID loads several people, in no order.
func (tx Tx) UsersByID(ctx context.Context, ids []int64) (us []User, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = tx.list(ctx, &us, `SELECT * FROM users WHERE id IN (?)`, bun.List(ids))
	return us, err
}

// SearchUsers finds people whose handle or display name starts with prefix, the recently seen
// first.
func (tx Tx) SearchUsers(ctx context.Context, prefix string, limit int) (us []User, err error) {
	like := escapeLike(prefix) + "%"
	err = tx.list(ctx, &us, `
		SELECT * FROM users
		WHERE banned_at IS NULL AND (handle LIKE ? ESCAPE '\' OR LOWER(display_name) LIKE LOWER(?) ESCAPE '\')
		ORDER BY seen_at DESC, handle LIMIT ?`, like, like, limit)
	return us, err
}

// Settings are what people choose about themselves.
type Settings struct {
	DisplayName, Bio, Language, Theme string
}

// SaveSettings stores what a person chose.
func (tx Tx) SaveSettings(ctx context.Context, user int64, s Settings) error {
	_, err := tx.exec(ctx, `UPDATE users SET display_name = ?, bio = ?, language = ?, theme = ? WHERE id = ?`,
		s.DisplayName, s.Bio, s.Language, s.Theme, user)
	return err
}

// SetPassword replaces a password hash.
func (tx Tx) SetPassword(ctx context.Context, user int64, hash string) error {
	_, err := tx.exec(ctx, `UPDATE users SET password_hash = ? WHERE id = ?`, hash, user)
	return err
}

// SetRole gives a person a role.
func (tx Tx) SetRole(ctx context.Context, user int64, role Role) error {
	_, err := tx.exec(ctx, `UPDATE users SET role = ? WHERE id = ?`, role, user)
	return err
}

// SetBanned bans a person at a time, or lifts the ban with nil.
func (tx Tx) SetBanned(ctx context.Context, user int64, at *int64) error {
	_, err := tx.exec(ctx, `UPDATE users SET banned_at = ? WHERE id = ?`, at, user)
	return err
}

// Seen notes that a person was here.
func (tx Tx) Seen(ctx context.Context, user, at int64) error {
	_, err := tx.exec(ctx, `UPDATE users SET seen_at = ? WHERE id = ? AND seen_at < ?`, at, user, at)
	return err
}

// AddSession inserts s and fills s.ID.
func (tx Tx) AddSession(ctx context.Context, s *Session) error { return tx.insert(ctx, s) }

// SessionByToken finds the session with this token hash that has not expired at now, and its
// person.
func (tx Tx) SessionByToken(ctx context.Context, hash string, now int64) (s Session, u User, err error) {
	err = tx.get(ctx, &s, `SELECT * FROM sessions WHERE token_hash = ? AND expires_at > ?`, hash, now)
	if err != nil {
		return s, u, err
	}
	u, err = tx.User(ctx, s.UserID)
	return s, u, err
}

// Sessions lists a person's sessions that are alive at now, the latest used first.
func (tx Tx) Sessions(ctx context.Context, user, now int64) (ss []Session, err error) {
	err = tx.list(ctx, &ss, `SELECT * FROM sessions WHERE user_id = ? AND expires_at > ? ORDER BY seen_at DESC, id DESC`, user, now)
	return ss, err
}

// TouchSession notes the use of a session and moves its end.
func (tx Tx) TouchSession(ctx context.Context, id, seen, expires int64) error {
	_, err := tx.exec(ctx, `UPDATE sessions SET seen_at = ?, expires_at = ? WHERE id = ?`, seen, expires, id)
	return err
}

// EndSession deletes one session of a person and reports whether there was one.
func (tx Tx) EndSession(ctx context.Context, user, id int64) (bool, error) {
	n, err := tx.exec(ctx, `DELETE FROM sessions WHERE user_id = ? AND id = ?`, user, id)
	return n == 1, err
}

// EndSessions deletes all sessions of a person but the one to keep (0 keeps none).
func (tx Tx) EndSessions(ctx context.Context, user, keep int64) error {
	_, err := tx.exec(ctx, `DELETE FROM sessions WHERE user_id = ? AND id <> ?`, user, keep)
	return err
}

// ExpireSessions deletes what ended before now.
func (tx Tx) ExpireSessions(ctx context.Context, now int64) error {
	_, err := tx.exec(ctx, `DELETE FROM sessions WHERE expires_at <= ?`, now)
	return err
}

// Audit writes an entry to the audit log.
func (tx Tx) Audit(ctx context.Context, e AuditEntry) error { return tx.insert(ctx, &e) }

// Audited reports whether an action was ever noted.
func (tx Tx) Audited(ctx context.Context, action string) (done bool, err error) {
	err = tx.get(ctx, &done, `SELECT EXISTS (SELECT 1 FROM audit_log WHERE action = ?)`, action)
	return done, err
}

// AuditLog lists the latest entries, newest first.
func (tx Tx) AuditLog(ctx context.Context, limit int) (es []AuditEntry, err error) {
	err = tx.list(ctx, &es, `SELECT * FROM audit_log ORDER BY id DESC LIMIT ?`, limit)
	return es, err
}
