// Package fault names what a person did that the community cannot do, in words for that person.
// Everything else that goes wrong is an ordinary error: logged, not shown.
package fault

import (
	"errors"
	"net/http"
	"time"
)

// Kind says what sort of refusal it is; it maps to one HTTP status.
type Kind int

// Kinds of refusals.
const (
	Invalid   Kind = http.StatusUnprocessableEntity
	SignedOut Kind = http.StatusUnauthorized
	Forbidden Kind = http.StatusForbidden
	NotFound  Kind = http.StatusNotFound
	Conflict  Kind = http.StatusConflict
	TooMany   Kind = http.StatusTooManyRequests
)

// Error is a refusal. Text is a key of the catalogues; Field names the form field it is about, or
// is empty; After is how long to wait when Kind is TooMany.
type Error struct {
	Kind  Kind
	Field string
	Text  string
	After time.Duration
}

// Error is the catalogue key: translate it before showing it.
func (e *Error) Error() string { return e.Text }

// Status is the HTTP status of the refusal.
func (e *Error) Status() int { return int(e.Kind) }

// Of returns the refusal within err, if there is one.
func Of(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Field refuses the value of a form field.
func Field(field, text string) *Error { return &Error{Kind: Invalid, Field: field, Text: text} }

// New refuses for a reason that is not about one field.
func New(kind Kind, text string) *Error { return &Error{Kind: kind, Text: text} }

// Wait refuses for now.
func Wait(text string, after time.Duration) *Error {
	return &Error{Kind: TooMany, Text: text, After: after}
}

// Reasons used in more than one place.
const (
	NeedSignIn    = "fault.sign_in"
	NoSuchPage    = "fault.not_found"
	NotAllowed    = "fault.forbidden"
	WindowClosed  = "fault.window"
	EmptyMessage  = "fault.empty"
	LongMessage   = "fault.long"
	NeedKey       = "fault.key"
	TooFast       = "fault.too_fast"
	BadTitle      = "fault.title"
	NoCategory    = "fault.category"
	NoPerson      = "fault.person"
	OwnDirect     = "fault.self"
	BadHandle     = "fault.handle"
	TakenHandle   = "fault.handle_taken"
	BadName       = "fault.display"
	ShortPassword = "fault.password_short"
	LongPassword  = "fault.password_long"
	WrongPassword = "fault.password_wrong"
	WrongSignIn   = "fault.credentials"
	Banned        = "fault.banned"
	TooManyTries  = "fault.tries"
	ForeignForm   = "fault.csrf"
	LongBio       = "fault.bio"
	ReplyMissing  = "fault.reply"
)

// Reasons lists every catalogue key above, for the test that both catalogues have them.
func Reasons() []string {
	return []string{
		NeedSignIn, NoSuchPage, NotAllowed, WindowClosed, EmptyMessage, LongMessage, NeedKey, TooFast,
		BadTitle, NoCategory, NoPerson, OwnDirect, BadHandle, TakenHandle, BadName, ShortPassword,
		LongPassword, WrongPassword, WrongSignIn, Banned, TooManyTries, ForeignForm, LongBio, ReplyMissing,
	}
}
