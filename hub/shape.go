package hub

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/message"
)

// Pressure is what happens to the messages of a topic for a receiver that does
// not take them as fast as they come.
type Pressure uint8

const (
	// PressureDisconnect queues them, and ends the connection when its queue
	// is full. Nothing is lost: the client comes back and reads the history.
	PressureDisconnect Pressure = iota
	// PressureDropOldest gives up the oldest that wait when there is no room.
	PressureDropOldest
	// PressureLatest keeps of all that wait with one key the newest only.
	PressureLatest
	// PressureSample keeps the newest of each interval.
	PressureSample
	// PressureSpill queues what there is room for and refuses the rest: who
	// delivers remembers where it stopped, and goes on from the log when the
	// receiver has room again. Nothing is lost while the log keeps it.
	PressureSpill
)

// Pressures is how many there are.
const Pressures = int(PressureSpill) + 1

func pressures() []string {
	return []string{
		PressureDisconnect: "disconnect", PressureDropOldest: "drop-oldest", PressureLatest: "latest-by-key",
		PressureSample: "sample", PressureSpill: "spill",
	}
}

// String returns the name that the configuration uses.
func (p Pressure) String() string {
	if names := pressures(); int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("Pressure(%d)", uint8(p))
}

// UnmarshalText understands the names that String returns.
func (p *Pressure) UnmarshalText(name []byte) error {
	i := slices.Index(pressures(), string(name))
	if i < 0 {
		return fmt.Errorf("use %s", strings.Join(pressures(), ", "))
	}
	*p = Pressure(i)
	return nil
}

// Shape is how deliveries of some topics are queued for one receiver, where
// that differs from the usual.
type Shape struct {
	Pressure Pressure
	Every    time.Duration // PressureSample: the interval
	Header   string        // PressureLatest: the message's header that holds the key
	// A receiver's frames may wait for more of them until BatchBytes wait, or
	// for BatchDelay. Without a delay none waits.
	BatchBytes int
	BatchDelay time.Duration
}

// Key returns the key of a message; those without the header share one.
func (s *Shape) Key(m *message.Message) string { return m.Headers[s.Header] }
