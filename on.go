package parley

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-playground/validator/v10"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/routing"
	"github.com/parleyhq/parley/topic"
)

// Ctx is the context of one message: its deadline, who sent it, and the way to
// answer others. It ends when the message is answered and must not be kept.
type Ctx struct {
	context.Context
	live *Live
	req  *routing.Request
}

// User returns the id of the user who sent the message; "" when anonymous.
func (c *Ctx) User() string { return c.req.Who.User }

// Identity returns who sent the message.
func (c *Ctx) Identity() Identity { return c.req.Who }

// SessionID returns the id of the session that sent the message, for Except
// and SendSession.
func (c *Ctx) SessionID() string { return c.req.Session }

// RequestID returns the id under which logs name this message.
func (c *Ctx) RequestID() string { return c.req.ID }

// Type returns the message's type.
func (c *Ctx) Type() string { return c.req.Type }

// Topic returns the topic the client published to; "" for a call.
func (c *Ctx) Topic() string { return c.req.Topic }

// Header returns a header of a published message.
func (c *Ctx) Header(name string) string { return c.req.Headers[name] }

// Payload returns the JSON text of the message as it came.
func (c *Ctx) Payload() json.RawMessage { return c.req.Payload }

// Logger returns a logger that names the message.
func (c *Ctx) Logger() *slog.Logger {
	return c.live.log.With("request", c.req.ID, "type", c.req.Type, "user", c.req.Who.User)
}

// Publish publishes v in the name of the user who sent the message. Where the
// client published to the same topic, it is answered with the new position.
func (c *Ctx) Publish(topic, typ string, v any, opts ...PublishOption) (Position, error) {
	at, err := c.live.Publish(c, topic, typ, v, append([]PublishOption{From(c.User())}, opts...)...)
	if err == nil && topic == c.req.Topic {
		c.req.Published = &at
	}
	return at, err
}

// Handler answers one message with a value that becomes the JSON payload of
// the answer.
type Handler func(c *Ctx) (any, error)

// Middleware wraps every handler that is registered with On.
type Middleware func(next Handler) Handler

// Use adds middleware around all handlers, those registered before as well.
// The first added is the outermost.
func (l *Live) Use(mw ...Middleware) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.middleware = append(l.middleware, mw...)
}

// On answers the messages of a type: calls, and what clients publish under
// it. The payload is read into In and checked against its validate tags
// (go-playground/validator); a payload that fails is answered with what is
// wrong, and h is not called. An error made by Invalid, Forbidden, NotFound,
// Conflict or TooMany is told to the client; any other, and a panic, is logged
// and told as internal. A publish that has a handler goes to nobody else: the
// handler publishes what others should see.
//
// Handlers run concurrently. On panics when the type already has a handler.
func On[In, Out any](l *Live, typ string, h func(c *Ctx, in In) (Out, error)) {
	err := l.router.Handle(typ, func(ctx context.Context, q *routing.Request) ([]byte, error) {
		handler := l.wrap(func(c *Ctx) (any, error) {
			var in In
			if err := l.decode(q.Payload, &in); err != nil {
				return nil, err
			}
			return h(c, in)
		})
		out, err := handler(&Ctx{Context: ctx, live: l, req: q})
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	})
	if err != nil {
		panic("parley.On: " + err.Error())
	}
}

func (l *Live) wrap(h Handler) Handler {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, v := range slices.Backward(l.middleware) {
		h = v(h)
	}
	return h
}

func (l *Live) decode(payload []byte, in any) error {
	if len(payload) > 0 {
		if err := json.Unmarshal(payload, in); err != nil {
			return Invalid("%s", jsonProblem(err))
		}
	}
	if reflect.Indirect(reflect.ValueOf(in)).Kind() != reflect.Struct {
		return nil
	}
	err := l.validate.Struct(in)
	if fields, ok := errors.AsType[validator.ValidationErrors](err); ok {
		problems := make([]string, len(fields))
		for i, f := range fields {
			problems[i] = fieldProblem(f)
		}
		return Invalid("%s", strings.Join(problems, "; "))
	}
	return err
}

func jsonProblem(err error) string {
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s must be %s, not %s", cmp.Or(typ.Field, "the payload"), typ.Type, typ.Value)
	}
	return "the payload cannot be read: " + err.Error()
}

func fieldProblem(f validator.FieldError) string {
	_, path, _ := strings.Cut(f.Namespace(), ".")
	switch f.Tag() {
	case "required":
		return path + " is missing"
	case "min", "gte":
		return path + " must have at least " + f.Param()
	case "max", "lte":
		return path + " must have at most " + f.Param()
	case "oneof":
		return path + " must be one of " + f.Param()
	}
	return strings.TrimRight(path+" must be "+f.Tag()+" "+f.Param(), " ")
}

// newValidator names fields as they stand in JSON.
func newValidator() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return cmp.Or(strings.Trim(name, "-"), f.Name)
	})
	return v
}

// Authorize lets code decide who may do what on the topics that match
// pattern, in place of the rules. For topics in several patterns the most
// specific decides. f gets a topic, or a filter with wildcards that lies in
// the pattern; it returns nil, or an error such as Forbidden. It is called
// often: keep it quick.
func (l *Live) Authorize(pattern string, f func(ctx context.Context, who Identity, action auth.Action, topic string) error) {
	filter, err := topic.ParseFilter(pattern)
	if err != nil {
		panic(fmt.Sprintf("parley: Authorize(%q): %v", pattern, err))
	}
	l.pubsub.Decide(filter, auth.AuthorizerFunc(f))
}

// Invalid is an error for the client: what it sent is wrong (400).
func Invalid(format string, a ...any) error { return protocol.BadRequest.Errorf(format, a...) }

// Forbidden is an error for the client: it may not do this (403).
func Forbidden(format string, a ...any) error { return protocol.Forbidden.Errorf(format, a...) }

// NotFound is an error for the client: there is no such thing (404).
func NotFound(format string, a ...any) error { return protocol.NotFound.Errorf(format, a...) }

// Conflict is an error for the client: the state has changed (409).
func Conflict(format string, a ...any) error { return protocol.Conflict.Errorf(format, a...) }

// TooMany is an error for the client: it must wait before it tries again (429).
func TooMany(wait time.Duration, format string, a ...any) error {
	return protocol.RateLimited.Errorf(format, a...).After(wait)
}
