//go:build !linux

package server

import "net"

// listenConfig leaves it to the system when a silent peer is given up.
func listenConfig() *net.ListenConfig { return &net.ListenConfig{} }
