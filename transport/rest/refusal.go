package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session"
)

// problem is the one shape of every refusal.
type problem struct {
	Code         string `json:"code"`
	Number       int    `json:"number"`
	Message      string `json:"message"`
	Retry        string `json:"retry"`
	RetryAfterMS int64  `json:"retry_after_ms"`
	RequestID    string `json:"request_id,omitempty"`
}

type refusalBody struct {
	Error problem `json:"error"`
}

func problemOf(e *protocol.Error, requestID string) problem {
	return problem{
		Code: e.Code, Number: e.HTTP, Message: e.Message, Retry: string(e.Retry),
		RetryAfterMS: max(e.RetryAfter, 0).Milliseconds(), RequestID: requestID,
	}
}

// known turns any error into one a client may see. Only what nobody foresaw is
// logged, with the id the client was told.
func (a *API) known(ctx context.Context, err error) *protocol.Error {
	told := session.ClientError(err)
	if told.Code == protocol.Internal.Code && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		told = protocol.Timeout.Hide(err, "the request took too long; what it asked for may still have happened")
	}
	if told.Code == protocol.Internal.Code {
		a.log.ErrorContext(ctx, "request failed", "request", requestIDOf(ctx), "error", told.Message, "cause", errors.Unwrap(told))
	}
	return told
}

func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	told := a.known(r.Context(), err)
	if told.HTTP == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="parley"`)
	}
	if told.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((told.RetryAfter+time.Second-1)/time.Second), 10))
	}
	text, err := json.Marshal(refusalBody{problemOf(told, requestIDOf(r.Context()))})
	if err != nil { // text, numbers and nothing else
		text = []byte(`{"error":{"code":"internal","number":500,"message":"","retry":"later","retry_after_ms":0}}`)
	}
	send(w, told.HTTP, text)
}

// unknown answers for paths that are not there and for methods that the path
// does not have.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, a.cfg.Prefix)
	var methods []string
	for _, rt := range a.routes() {
		if rt.path == path {
			methods = append(methods, rt.method)
		}
	}
	if len(methods) == 0 {
		a.refuse(w, r, protocol.NotFound.Errorf("there is no %s %s: %s/docs lists what there is", r.Method, r.URL.Path, a.cfg.Prefix))
		return
	}
	slices.Sort(methods)
	w.Header().Set("Allow", strings.Join(methods, ", "))
	a.refuse(w, r, protocol.NotAllowed.Errorf("%s is asked with %s, not %s", path, strings.Join(methods, " or "), r.Method))
}
