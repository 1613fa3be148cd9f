// Package signin asks the application who somebody is, and puts refusals into
// words for clients. A panic of the application's code lets nobody in, and ends
// nothing but the one question.
package signin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/protocol"
)

// Desk is where tokens are shown. Fields may be nil, but for Log.
type Desk struct {
	Tickets  *ticket.Once
	Verifier auth.Verifier
	Log      *slog.Logger
}

// Verify tells who brings a token or a one-use ticket; address is for the log.
func (d Desk) Verify(ctx context.Context, token, address string) (auth.Identity, error) {
	if ticket.Is(token) && d.Tickets != nil {
		return d.Tickets.Redeem(ctx, token)
	}
	if d.Verifier == nil {
		return auth.Identity{}, protocol.Unauthorized.Errorf("this server takes no tokens: open the connection with a session cookie or a one-use ticket")
	}
	who, err := Ask(ctx, d.Verifier.Verify, token)
	if err != nil && auth.Code(err) == "" {
		d.Log.ErrorContext(ctx, "a token could not be judged", "address", address, "error", err)
	}
	return who, err
}

// Ask calls f, and turns a panic into an error.
func Ask(ctx context.Context, f func(context.Context, string) (auth.Identity, error), about string) (who auth.Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			who, err = auth.Identity{}, fmt.Errorf("the code that identifies panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return f(ctx, about)
}

// ClientError turns a refusal of any floor into one fit for the client.
func ClientError(err error) *protocol.Error {
	if known, ok := errors.AsType[*protocol.Error](err); ok {
		return known
	}
	var refused *auth.Error
	if !errors.As(err, &refused) {
		return protocol.Internal.Hide(err, "the request could not be answered: try again later")
	}
	switch refused.Code {
	case auth.CodeTokenExpired, auth.CodeTicketExpired:
		return protocol.TokenExpired.Hide(err, refused.Message)
	case auth.CodeForbidden, auth.CodeOrigin:
		return protocol.Forbidden.Hide(err, refused.Message)
	}
	return protocol.Unauthorized.Hide(err, refused.Message)
}
