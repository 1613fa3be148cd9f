package protocol

import (
	"fmt"
	"time"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Retry is the advice that comes with every error and every end.
type Retry string

// The three answers to "shall I try again?".
const (
	RetryNow   Retry = "now"   // the same request may succeed at once
	RetryLater Retry = "later" // after RetryAfter, or with backoff
	RetryNever Retry = "never" // the same request will fail again
)

// Reason is one row of the table of ends and errors: every transport maps it
// to its own numbers, so that all of them say the same.
type Reason struct {
	Code  string // the word on the wire
	HTTP  int    // status of an answer that says the same
	Close int    // WebSocket close code; 4000–4499 come back, 4500–4999 do not
	Retry Retry
}

// Reasons of errors, and of ends that come with one.
var (
	BadRequest    = Reason{"bad_request", 400, 4504, RetryNever}
	Unauthorized  = Reason{"unauthorized", 401, 4500, RetryNever}
	TokenExpired  = Reason{"token_expired", 401, 4100, RetryLater}
	Forbidden     = Reason{"forbidden", 403, 4500, RetryNever}
	NotFound      = Reason{"not_found", 404, 4504, RetryNever}
	Conflict      = Reason{"conflict", 409, 4504, RetryNever}
	TooLarge      = Reason{"too_large", 413, 1009, RetryNever}
	RateLimited   = Reason{"rate_limited", 429, 4101, RetryLater}
	LimitReached  = Reason{"limit_reached", 429, 4506, RetryNever}
	NotAllowed    = Reason{"method_not_allowed", 405, 4504, RetryNever}
	NeedsUpgrade  = Reason{"upgrade_required", 426, 4504, RetryNever}
	Unimplemented = Reason{"unimplemented", 501, 4504, RetryNever}
	Internal      = Reason{"internal", 500, 4003, RetryLater}
	Overloaded    = Reason{"overloaded", 503, 4004, RetryLater}
	Timeout       = Reason{"timeout", 504, 4003, RetryLater}
	OutOfSequence = Reason{"out_of_sequence", 409, 4102, RetryNow}
	Fenced        = Reason{"fenced", 409, 4501, RetryNever}
)

// Reasons of ends only.
var (
	Draining       = Reason{"draining", 503, 4000, RetryLater}
	SlowConsumer   = Reason{"slow_consumer", 503, 4001, RetryNow}
	PingTimeout    = Reason{"ping_timeout", 503, 4002, RetryNow}
	ConnectTimeout = Reason{"connect_timeout", 408, 4005, RetryLater}
	IdleTimeout    = Reason{"idle_timeout", 503, 4006, RetryLater}
	TakenOver      = Reason{"taken_over", 409, 4501, RetryNever}
	Disconnected   = Reason{"disconnected", 403, 4502, RetryNever}
	ErrorBudget    = Reason{"error_budget", 429, 4503, RetryNever}
	BadProtocol    = Reason{"bad_protocol", 400, 4504, RetryNever}
	Closed         = Reason{"closed", 200, 1000, RetryNow}
	Lost           = Reason{"connection_lost", 503, 4003, RetryNow}
)

// Reasons returns the whole table.
func Reasons() []Reason {
	return []Reason{
		BadRequest, Unauthorized, TokenExpired, Forbidden, NotFound, Conflict, TooLarge,
		RateLimited, LimitReached, NotAllowed, NeedsUpgrade, Unimplemented, Internal, Overloaded,
		Timeout, OutOfSequence, Fenced, Draining, SlowConsumer, PingTimeout, ConnectTimeout, IdleTimeout, TakenOver,
		Disconnected, ErrorBudget, BadProtocol, Closed, Lost,
	}
}

// Error is a refusal that a client is told about. Message is for a person and
// says what to do; what only the operator may see stays in the wrapped cause.
type Error struct {
	Reason
	Message    string
	RetryAfter time.Duration
	Next       uint64 // of OutOfSequence: the number that has to come
	cause      error
}

// Errorf makes an Error of this reason. A %w in the format is kept as the
// cause, and its text is part of the message.
func (r Reason) Errorf(format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Reason: r, Message: err.Error(), cause: err}
}

// Hide makes an Error of this reason that shows message to the client and
// keeps cause for the operator.
func (r Reason) Hide(cause error, message string) *Error {
	return &Error{Reason: r, Message: message, cause: cause}
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap returns what lies behind the error, if anything.
func (e *Error) Unwrap() error { return e.cause }

// After returns a copy of e that asks the client to wait for d.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Wire returns e as the client sees it.
func (e *Error) Wire() *parleyv1.Error {
	return &parleyv1.Error{
		Code: e.Code, Number: uint32(e.HTTP), Message: e.Message, Next: e.Next,
		Retry: string(e.Retry), RetryAfterMs: uint64(max(e.RetryAfter, 0).Milliseconds()),
	}
}

// Reply returns e as the answer to the command numbered id.
func (e *Error) Reply(id uint64) *parleyv1.Reply {
	return &parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Error{Error: e.Wire()}}
}
