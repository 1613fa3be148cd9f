package parley

import "github.com/parleyhq/parley/session"

// Transport is a way in that the program adds to those of this package, such
// as one of the folders under transport/.
type Transport interface {
	// Wait returns when every connection of the transport has ended and
	// released what it held. It is called when all sessions have been ended.
	Wait()
}

// Join adds a transport. open makes it on the sessions of this Live, which
// Shutdown ends; afterwards it waits for the transport. Listeners are the
// caller's: they are closed before Shutdown.
func (l *Live) Join(open func(*session.Manager) Transport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.joined = append(l.joined, open(l.sessions))
}

// wait returns when every connection has ended.
func (l *Live) wait() {
	l.sockets.Wait()
	l.streams.Wait()
	l.mu.RLock()
	joined := l.joined
	l.mu.RUnlock()
	for _, t := range joined {
		t.Wait()
	}
}
