package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// forceKey finds the context that ends with the second signal.
type forceKey struct{}

func forceOf(ctx context.Context) context.Context {
	if force, ok := ctx.Value(forceKey{}).(context.Context); ok {
		return force
	}
	return context.WithoutCancel(ctx)
}

// signals returns a context that the first SIGINT or SIGTERM ends, and one that
// the second ends; a third kills the process as if nobody listened.
func signals() (stop, force context.Context, release func()) {
	stop, cancelStop := context.WithCancel(context.Background())
	force, cancelForce := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for _, cancel := range []context.CancelFunc{cancelStop, cancelForce} {
			select {
			case <-ch:
				cancel()
			case <-done:
				return
			}
		}
		signal.Stop(ch)
	}()
	return stop, force, func() {
		signal.Stop(ch)
		close(done)
		<-ended
		cancelStop()
		cancelForce()
	}
}
