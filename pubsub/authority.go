package pubsub

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/topic"
)

// Decide lets code decide about the topics that match f, in place of the
// rules. The most specific of several patterns decides.
func (s *Service) Decide(f topic.Filter, a auth.Authorizer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trees.Set(f, a)
}

// Authorize tells whether who may do action on a topic or filter. The error
// is fit for the client. With $share/group/filter the filter decides; dead
// letters are for those who manage the topic they come from.
func (s *Service) Authorize(ctx context.Context, who auth.Identity, action auth.Action, f topic.Filter) error {
	if _, inner, err := topic.ParseShare(string(f)); err == nil {
		f = inner
	}
	if source, ok := deadSource(string(f)); ok && action != auth.ActionPublish {
		f, action = topic.Filter(source), auth.ActionManage
	}
	err := ask(ctx, s.authorizer(f), who, action, f)
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*protocol.Error](err); ok {
		return known
	}
	if denied, ok := errors.AsType[*auth.Error](err); ok {
		return protocol.Forbidden.Hide(err, denied.Message)
	}
	s.log.ErrorContext(ctx, "permission could not be checked", "user", who.User, "action", action, "topic", f, "error", err)
	return protocol.Internal.Hide(err, "the permission could not be checked: try again later")
}

// ask turns a panic of the application's code into an error: nobody is let in
// by it, and it ends nothing but this one question.
func ask(ctx context.Context, a auth.Authorizer, who auth.Identity, action auth.Action, f topic.Filter) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the code that decides panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return a.Authorize(ctx, who, action, string(f))
}

// authorizer returns who decides about f: the code for the most specific
// pattern that covers all of f, else the rules. A filter that includes topics
// some narrower code decides about is refused, for nobody was asked about them.
func (s *Service) authorizer(f topic.Filter) auth.Authorizer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !f.Wildcard() {
		if a, ok := s.trees.Best(topic.Name(f)); ok {
			return a
		}
		return s.rules
	}
	var best, part topic.Filter
	found := s.rules
	s.trees.All(func(p topic.Filter, a auth.Authorizer) bool {
		switch {
		case p.Covers(f):
			if best == "" || narrower(p, best) {
				best, found = p, a
			}
		case overlap(p, f) && (part == "" || p < part):
			part = p
		}
		return true
	})
	if part != "" {
		return refuseWide{part}
	}
	return found
}

// narrower orders patterns as topic.Tree does: in the first level where they
// differ, a name goes before '+', and '+' before '#'.
func narrower(f, g topic.Filter) bool {
	rank := func(level string) int { return slices.Index([]string{"+", "#"}, level) }
	fs, gs := string(f), string(g)
	for more := true; more; {
		var fl, gl string
		fl, fs, more = strings.Cut(fs, "/")
		gl, gs, _ = strings.Cut(gs, "/")
		if fl != gl {
			return rank(fl) < rank(gl)
		}
	}
	return false
}

// overlap reports whether some name matches both patterns.
func overlap(f, g topic.Filter) bool {
	fs, gs := string(f), string(g)
	if strings.HasPrefix(fs, "$") != strings.HasPrefix(gs, "$") {
		return false
	}
	for {
		fl, frest, fmore := strings.Cut(fs, "/")
		gl, grest, gmore := strings.Cut(gs, "/")
		switch {
		case fl == "#" || gl == "#":
			return true
		case fl != gl && fl != "+" && gl != "+":
			return false
		case !fmore || !gmore:
			return fmore == gmore || frest == "#" || grest == "#"
		}
		fs, gs = frest, grest
	}
}

// refuseWide answers for a filter that includes topics some code decides about.
type refuseWide struct{ part topic.Filter }

// Authorize is described at auth.Authorizer.
func (r refuseWide) Authorize(_ context.Context, _ auth.Identity, _ auth.Action, f string) error {
	return protocol.Forbidden.Errorf("the filter %s includes %s, which has rules of its own: subscribe to them separately", f, r.part)
}
