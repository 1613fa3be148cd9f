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

// Reasons: keys of the catalogues in package web.
const (
	NeedSignIn    = "error.401"
	NotAllowed    = "error.403.hint"
	NoSuchPage    = "error.404.hint"
	TooFast       = "error.429.hint"
	BadRequest    = "error.400.hint"
	Required      = "error.required"
	TooLong       = "error.too_long"
	WindowClosed  = "error.window"
	BadTitle      = "error.title"
	NoCategory    = "error.category"
	ReplyMissing  = "error.reply"
	BadName       = "error.display"
	NoPerson      = "error.no_such_user"
	OwnDirect     = "error.self"
	BadHandle     = "error.name_invalid"
	TakenHandle   = "error.name_taken"
	ShortPassword = "error.password_short"
	WrongPassword = "error.password_wrong"
	WrongSignIn   = "error.signin"
	Banned        = "error.banned"
	TooManyTries  = "error.signin_wait"
	ForeignForm   = "error.csrf"
)

// Reasons lists every catalogue key above, for the test that both catalogues have them.
func Reasons() []string {
	return []string{
		NeedSignIn, NotAllowed, NoSuchPage, TooFast, BadRequest, Required, TooLong, WindowClosed, BadTitle, NoCategory,
		ReplyMissing, BadName, NoPerson, OwnDirect, BadHandle, TakenHandle, ShortPassword, WrongPassword, WrongSignIn,
		Banned, TooManyTries, ForeignForm,
	}
}
