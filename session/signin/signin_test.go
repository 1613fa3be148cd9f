package signin_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session/signin"
)

func TestVerify(t *testing.T) {
	var log strings.Builder
	d := signin.Desk{Log: slog.New(slog.NewTextHandler(&log, nil))}
	if _, err := d.Verify(t.Context(), "t", ""); signin.ClientError(err).Code != protocol.Unauthorized.Code {
		t.Errorf("without a verifier: %v", err)
	}
	d.Verifier = auth.VerifierFunc(func(_ context.Context, token string) (auth.Identity, error) {
		switch token {
		case "ada":
			return auth.Identity{User: "ada"}, nil
		case "old":
			return auth.Identity{}, &auth.Error{Code: auth.CodeTokenExpired, Message: "too old"}
		case "panic":
			panic("an application's mistake")
		}
		return auth.Identity{}, errors.New("the database is away")
	})
	if who, err := d.Verify(t.Context(), "ada", ""); err != nil || who.User != "ada" {
		t.Errorf("%+v, %v", who, err)
	}
	for token, code := range map[string]string{"old": protocol.TokenExpired.Code, "panic": protocol.Internal.Code, "x": protocol.Internal.Code} {
		log.Reset()
		who, err := d.Verify(t.Context(), token, "192.0.2.1")
		if refusal := signin.ClientError(err); refusal.Code != code || who.User != "" || strings.Contains(refusal.Message, "database") {
			t.Errorf("%s: %v", token, refusal)
		}
		if logged := strings.Contains(log.String(), "192.0.2.1"); logged != (token != "old") {
			t.Errorf("%s: logged %q", token, log.String())
		}
	}
}
