package client

import (
	"errors"
	"time"

	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Error says why something did not happen, in the server's words or the
// client's own. errors.Is compares the Code alone.
type Error struct {
	Code       string // for programs
	Message    string // for people
	Status     int    // the HTTP status that says the same; 0 when no server said it
	Retry      protocol.Retry
	RetryAfter time.Duration // how long to wait before a retry, at least
	next       uint64        // of out_of_sequence: the number the server wants
}

// Errors of the client itself.
var (
	// ErrClosed: the client was closed, by Close or by a server that does not
	// want it back.
	ErrClosed = &Error{Code: "closed", Message: "the client is closed", Retry: protocol.RetryNever}
	// ErrDisconnected: the connection broke before the answer came, and what
	// was asked may or may not have been done.
	ErrDisconnected = &Error{
		Code: "disconnected", Retry: protocol.RetryLater,
		Message: "the connection was lost before the answer came: it may or may not have been done",
	}
	// ErrOutboxFull: too much waits to be sent.
	ErrOutboxFull = &Error{Code: "outbox_full", Message: "too much is waiting to be sent: try again once the connection is back", Retry: protocol.RetryLater}
	// ErrSlow ended a subscription whose handler did not keep up.
	ErrSlow = &Error{
		Code: "slow_consumer", Retry: protocol.RetryNow,
		Message: "more messages waited for the handler than its buffer holds: make it faster, or the buffer larger",
	}
	// ErrTimeout: the server is connected and did not answer.
	ErrTimeout = &Error{Code: "timeout", Message: "the server did not answer in time", Status: 504, Retry: protocol.RetryLater}
	// ErrUnsubscribed ended a subscription: Unsubscribe was called.
	ErrUnsubscribed = &Error{Code: "unsubscribed", Message: "the subscription was ended here", Retry: protocol.RetryNever}
)

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Is compares codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

func fromWire(e *parleyv1.Error) *Error {
	return &Error{
		Code: e.GetCode(), Message: e.GetMessage(), Status: int(e.GetNumber()),
		Retry: protocol.Retry(e.GetRetry()), RetryAfter: milliseconds(e.GetRetryAfterMs()), next: e.GetNext(),
	}
}

// never reports whether err is a refusal that will not change by waiting.
func never(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Retry == protocol.RetryNever
}

func milliseconds(n uint64) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Millisecond)
	return time.Duration(min(n, most)) * time.Millisecond
}
