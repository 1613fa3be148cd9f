//go:build !linux

package evloop

import (
	"net"
	"net/netip"
)

// Socket is a connection that nobody reads. There are none here.
type Socket struct{}

// Conn is not called here.
func (Socket) Conn() (net.Conn, error) { return nil, net.ErrClosed }

// Acceptor accepts connections as bare sockets. There are none here.
type Acceptor struct{}

// NewAcceptor returns nil: net accepts.
func NewAcceptor(net.Listener) *Acceptor { return nil }

// Run is not called here.
func (*Acceptor) Run(func(Socket, netip.AddrPort), func(error)) error { return net.ErrClosed }

// Close is not called here.
func (*Acceptor) Close() {}

// newPoller returns nil: goroutines serve.
func newPoller(*Group) poller { return nil }
