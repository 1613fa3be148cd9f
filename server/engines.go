package server

import (
	"fmt"
	"log/slog"
	"net/url"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
)

// transports are all ways in. A new one is a line here, and a door in a file
// of its own.
func transports() []func(*Server) door {
	return []func(*Server) door{
		webSocketDoor,
		restDoor,
		sseDoor,
		frameDoor,
	}
}

// openBroker is the only place that knows every engine. An engine is an
// address: its scheme says which, the rest is the engine's own.
func openBroker(address string, log *slog.Logger) (broker.Broker, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("broker: %q is no address: %w", address, err)
	}
	switch u.Scheme {
	case "memory":
		return localbroker.New(localbroker.Limits{}), nil
	case "file":
		log.Warn("the broker file: keeps histories in memory so far: they end with the process", "broker", address)
		return localbroker.New(localbroker.Limits{}), nil
	case "nats", "redis", "kafka":
		return nil, fmt.Errorf("broker: use memory: for now, %s is planned and not there yet", u.Scheme)
	}
	return nil, fmt.Errorf("broker: %q names no engine there is (memory: is one)", address)
}
