package auth

import "errors"

// Codes of the refusals in this package and its folders. They travel to clients
// as they stand, so they are never renamed.
const (
	CodeTokenMissing   = "token_missing"   // no token where one is needed
	CodeTokenInvalid   = "token_invalid"   // malformed, forged, or not meant for this server
	CodeTokenExpired   = "token_expired"   // was good once; come back with a fresh one
	CodeTokenAlgorithm = "token_algorithm" // signed with an algorithm this server does not accept
	CodeTicketInvalid  = "ticket_invalid"  // malformed, forged or already used
	CodeTicketExpired  = "ticket_expired"  // a ticket that was not used in time
	CodeOrigin         = "origin_refused"  // a page of another site tried to connect
	CodeForbidden      = "forbidden"       // known, but not allowed to do this
)

// Error is a refusal.
//
// Code and Message are sent to the client, so neither may hold a secret nor a
// detail that helps a forger. Cause is for the operator's log and is reached
// with errors.Unwrap.
type Error struct {
	Code    string
	Message string
	Cause   error
}

// Error returns the message for the client followed by the operator's cause.
// Log it; send Message.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

// Unwrap returns the cause, which may be nil.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, &Error{Code: c}) ask for the code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == "" && t.Cause == nil
}

// Code returns the code of the *Error in err's chain, or "" when there is none.
func Code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
