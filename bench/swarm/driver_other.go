//go:build !linux

package swarm

func newDriver(*Swarm) (driver, error) { return &readers{}, nil }
