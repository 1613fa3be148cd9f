package rest

import (
	"cmp"
	"net/http"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
)

const (
	maxReason     = 120     // what fits into a WebSocket close frame
	maxTicketBody = 4 << 10 // an identity of that size fits into a ticket
)

func (a *API) disconnect(w http.ResponseWriter, r *http.Request, who caller) error {
	if err := backendOnly(who); err != nil {
		return err
	}
	var in struct {
		User   string `json:"user"`
		Reason string `json:"reason"`
	}
	if err := decode(r, &in); err != nil {
		return err
	}
	switch {
	case in.User == "":
		return protocol.BadRequest.Errorf("name the user to disconnect")
	case len(in.Reason) > maxReason:
		return protocol.BadRequest.Errorf("the reason has %d bytes, at most %d", len(in.Reason), maxReason)
	}
	n, err := a.node.Disconnect(r.Context(), in.User, cmp.Or(in.Reason, "disconnected by an operator"))
	if err != nil {
		return err
	}
	return answer(w, map[string]int{"disconnected": n})
}

// ticket answers POST /ticket. A user gets one for themselves; the backend names
// whom it has signed in, which is how a program without tokens of its own sends
// its users here.
func (a *API) ticket(w http.ResponseWriter, r *http.Request, who caller) error {
	id := who.Identity
	if who.backend {
		var in struct {
			User  string   `json:"user"`
			Name  string   `json:"name"`
			Roles []string `json:"roles"`
		}
		if err := decode(r, &in); err != nil {
			return err
		}
		if in.User == "" || len(in.User) > maxUser {
			return protocol.BadRequest.Errorf("name the user the ticket is for, in at most %d bytes", maxUser)
		}
		id = auth.Identity{User: in.User, Name: in.Name, Roles: in.Roles}
	}
	text, life, err := a.node.Ticket(id)
	if err != nil {
		return err
	}
	return answer(w, map[string]any{"ticket": text, "expires_in_ms": life.Milliseconds()})
}

func (a *API) info(w http.ResponseWriter, _ *http.Request, who caller) error {
	if err := backendOnly(who); err != nil {
		return err
	}
	return answer(w, a.node.Info())
}
