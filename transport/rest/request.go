package rest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/parleyhq/parley/protocol"
)

type requestKey struct{}

func withRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

func requestIDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

const maxRequestID = 64

// requestID takes over the id that a proxy or caller gave, when it is harmless
// in a log line, and makes one otherwise.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-ID")
	if id == "" || len(id) > maxRequestID {
		return rand.Text()[:16]
	}
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' && c != '.' {
			return rand.Text()[:16]
		}
	}
	return id
}

// decode reads the body as one JSON object. Unknown fields are ignored, as
// everywhere in the protocol, so that a newer client can talk to an older server.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	if err := d.Decode(into); err != nil {
		return badBody(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		if err != nil {
			return badBody(err)
		}
		return protocol.BadRequest.Errorf("the body holds more than one JSON value: send one object")
	}
	return nil
}

func badBody(err error) error {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return protocol.TooLarge.Hide(err, "the body is larger than "+strconv.FormatInt(tooLong.Limit, 10)+" bytes, the most this route takes")
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return protocol.BadRequest.Errorf("the body is not JSON: at byte %d: %w", syntax.Offset, err)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return protocol.BadRequest.Errorf("the body is a JSON %s: send an object", wrong.Value)
		}
		return protocol.BadRequest.Errorf("the field %s cannot be a JSON %s", wrong.Field, wrong.Value)
	}
	switch {
	case errors.Is(err, io.EOF):
		return protocol.BadRequest.Errorf("the body is empty: send a JSON object")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return protocol.BadRequest.Errorf("the body ends in the middle of its JSON")
	}
	return protocol.BadRequest.Hide(err, "the body could not be read as JSON")
}

// number reads an optional query parameter. Given reports whether it was there.
func number(r *http.Request, name string) (n uint64, given bool, err error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, false, nil
	}
	n, parseErr := strconv.ParseUint(text, 10, 64)
	if parseErr != nil {
		return 0, true, protocol.BadRequest.Errorf("%s=%q is not a whole number from 0", name, text)
	}
	return n, true, nil
}

func answer(w http.ResponseWriter, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return protocol.Internal.Hide(err, "the answer could not be encoded")
	}
	send(w, http.StatusOK, text)
	return nil
}

// send writes an answer that is complete. A client that hangs up in the middle
// has nobody left to be told about it.
func send(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}
