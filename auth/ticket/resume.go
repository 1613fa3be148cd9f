package ticket

import (
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const kindResume = "pr1"

// Resume is what a resume ticket says: this session belonged to this user and
// may be taken up again until Expires. It is a hint to a session and no
// sign-in: whoever resumes still has to be that user.
type Resume struct {
	Session string
	User    string // "" when the session was anonymous
	Expires time.Time
}

type resumeBody struct {
	Session string `json:"s"`
	User    string `json:"u,omitempty"`
	Expires int64  `json:"e"` // Unix milliseconds
}

// SignResume returns the ticket for r. It is URL-safe text. It can be read by
// whoever holds it, though not changed.
func (ks *Keys) SignResume(r Resume) (string, error) {
	if r.Session == "" || r.Expires.IsZero() {
		return "", errors.New("a resume ticket needs a session and an expiry")
	}
	body, err := json.Marshal(resumeBody{r.Session, r.User, r.Expires.UnixMilli()})
	if err != nil {
		return "", fmt.Errorf("encode resume ticket: %w", err)
	}
	return join(kindResume, ks.current, body, ks.current.seal(body)), nil
}

// VerifyResume returns what a ticket says, if it is genuine and in time. It
// looks nothing up, and takes the same time for every forged signature. The
// error is an *auth.Error with CodeTicketInvalid or CodeTicketExpired: both mean
// to the client that it starts a new session.
func (ks *Keys) VerifyResume(text string) (Resume, error) {
	const refusal = "the session's ticket is not genuine: starting anew"
	k, body, seal, err := ks.split(kindResume, text)
	if err != nil {
		return Resume{}, invalid(refusal, err)
	}
	if !hmac.Equal(seal, k.seal(body)) {
		return Resume{}, invalid(refusal, errForged)
	}
	var b resumeBody
	if err := json.Unmarshal(body, &b); err != nil {
		return Resume{}, invalid(refusal, err)
	}
	r := Resume{Session: b.Session, User: b.User, Expires: time.UnixMilli(b.Expires)}
	if !time.Now().Before(r.Expires) {
		return Resume{}, expired("the session's ticket has expired: starting anew")
	}
	return r, nil
}
