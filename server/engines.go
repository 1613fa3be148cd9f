package server

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/server/datadir"
	"github.com/parleyhq/parley/store/pebblestore"
)

// transports are all ways in. A new one is a line here, and a door in doors.go.
func transports() []func(*Server) door {
	return []func(*Server) door{
		webSocketDoor,
		restDoor,
		sseDoor,
		frameDoor,
		mqttDoor,
	}
}

// engine is what carries messages, and the database under it.
type engine struct {
	broker broker.Broker
	data   *pebblestore.DB // nil where nothing outlives the process
}

// openEngine is the only place that knows every engine. An engine is an
// address: its scheme says which, the rest is the engine's own. What it keeps
// is in dir, unless its address names another folder.
func openEngine(address string, dir datadir.Dir, log *slog.Logger) (engine, error) {
	u, err := url.Parse(address)
	if err != nil {
		return engine{}, fmt.Errorf("broker: %q is no address: %w", address, err)
	}
	switch u.Scheme {
	case "memory":
		return engine{broker: localbroker.New(localbroker.Limits{})}, nil
	case "file":
		data, err := pebblestore.Open(cmp.Or(u.Opaque, u.Path, dir.File("store")), pebblestore.Options{Log: log})
		if err != nil {
			return engine{}, fmt.Errorf("broker: %w", err)
		}
		return engine{localbroker.NewDurable(localbroker.Limits{}, data.Log()), data}, nil
	case "nats", "redis", "kafka":
		return engine{}, fmt.Errorf("broker: use file: or memory: for now, %s is planned and not there yet", u.Scheme)
	}
	return engine{}, fmt.Errorf("broker: %q names no engine there is (file: and memory: are)", address)
}
