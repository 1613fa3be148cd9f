package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(t.Context(), time.Second)
		if end, ok := p.Deadline(); !ok || time.Until(end) != time.Second || p.waited != nil {
			t.Errorf("%v %v, timer %v", end, ok, p.waited)
		}
		child, stop := context.WithCancel(p)
		defer stop()
		began := time.Now()
		<-child.Done()
		if took := time.Since(began); took != time.Second || !errors.Is(child.Err(), context.DeadlineExceeded) || !errors.Is(p.Err(), context.DeadlineExceeded) {
			t.Errorf("after %v: %v, %v", took, child.Err(), p.Err())
		}
		p.stop()
	})
}

func TestPatienceThatIsStopped(t *testing.T) {
	waits := newPatience(t.Context(), time.Hour)
	if waits.Err() != nil {
		t.Error(waits.Err())
	}
	late := newPatience(t.Context(), time.Hour)
	for _, p := range []*patience{waits, late} { // before and after somebody waits
		p.stop()
		select {
		case <-p.Done():
		default:
			t.Error("who waits is not told")
		}
		if !errors.Is(p.Err(), context.Canceled) {
			t.Error(p.Err())
		}
	}
	base, end := context.WithCancel(t.Context())
	p := newPatience(base, time.Hour)
	end()
	if <-p.Done(); !errors.Is(p.Err(), context.Canceled) {
		t.Error(p.Err())
	}
	p.stop()
}
