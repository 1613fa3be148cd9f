// Package config reads what an operator wants of a Parley server: built-in
// defaults, then a YAML file, then environment variables, then flags, each
// layer over the one before.
//
// Whatever cannot be right is refused before anything starts, and the refusal
// says where it stands: the file's line, the variable, or the flag.
package config

import (
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/pubsub/receipts"
	"github.com/parleyhq/parley/session"
)

// Config is every setting there is. Settings documents each of them under the
// same name; a test keeps the two alike.
type Config struct {
	Addr           string         `koanf:"addr"`
	FrameAddr      string         `koanf:"frame_addr"`
	MQTTAddr       string         `koanf:"mqtt_addr"`
	MQTTKeepAlive  time.Duration  `koanf:"mqtt_keep_alive"`
	MQTTRedirect   string         `koanf:"mqtt_redirect"`
	Data           string         `koanf:"data"`
	Node           string         `koanf:"node"`
	Broker         string         `koanf:"broker"`
	APIKeys        []string       `koanf:"api_key"`
	PublicURL      string         `koanf:"public_url"`
	Origins        []string       `koanf:"origins"`
	TrustedProxies []netip.Prefix `koanf:"trusted_proxies"`
	Community      bool           `koanf:"community"`
	Anonymous      bool           `koanf:"anonymous"`
	Log            Log            `koanf:"log"`
	JWT            JWT            `koanf:"jwt"`
	Heartbeat      Heartbeat      `koanf:"heartbeat"`
	Compression    Compression    `koanf:"compression"`
	Limits         Limits         `koanf:"limits"`
	Shutdown       Shutdown       `koanf:"shutdown"`
	Topics         []Topic        `koanf:"topics"`
	Rules          []Rule         `koanf:"rules"`

	// Warnings are what looks like a mistake but may be none. Whoever loads the
	// configuration shows them.
	Warnings []string `koanf:"-"`
}

// Log is how the server writes its log.
type Log struct {
	Level  slog.Level `koanf:"level"`
	Format string     `koanf:"format"`
}

// JWT is which bearer tokens are accepted besides the server's own.
type JWT struct {
	Secret    string        `koanf:"secret"`
	PublicKey string        `koanf:"public_key"`
	Issuer    string        `koanf:"issuer"`
	Audience  string        `koanf:"audience"`
	Leeway    time.Duration `koanf:"leeway"`
}

// Heartbeat is how dead connections are found.
type Heartbeat struct {
	Interval time.Duration             `koanf:"interval"`
	Timeout  time.Duration             `koanf:"timeout"`
	Strategy session.HeartbeatStrategy `koanf:"strategy"`
}

// Compression is whether WebSocket clients that ask for it get compressed
// messages.
type Compression struct {
	Enabled  bool `koanf:"enabled"`
	MinBytes int  `koanf:"min_bytes"`
}

// Limits bound what clients may take. Zero leaves a bound out where its
// documentation says so.
type Limits struct {
	MessageBytes          int           `koanf:"message_bytes"`
	QueueBytes            int           `koanf:"queue_bytes"`
	Subscriptions         int           `koanf:"subscriptions"`
	Calls                 int           `koanf:"calls"`
	Connections           int           `koanf:"connections"`
	ConnectionsPerUser    int           `koanf:"connections_per_user"`
	ConnectionsPerAddress int           `koanf:"connections_per_address"`
	AcceptRate            int           `koanf:"accept_rate"`
	AcceptRatePerAddress  int           `koanf:"accept_rate_per_address"`
	ConnectTimeout        time.Duration `koanf:"connect_timeout"`
	IdleTimeout           time.Duration `koanf:"idle_timeout"`
	ResumeWindow          time.Duration `koanf:"resume_window"`
	SessionExpiry         time.Duration `koanf:"session_expiry"`
}

// Shutdown is how the server ends.
type Shutdown struct {
	Timeout time.Duration `koanf:"timeout"`
}

// Topic is how the topics of a pattern behave.
type Topic struct {
	Pattern      string        `koanf:"pattern"`
	History      int           `koanf:"history"`
	HistoryAge   time.Duration `koanf:"history_age"`
	HistoryBytes int64         `koanf:"history_bytes"`
	Durable      bool          `koanf:"durable"`
	Sync         pubsub.Sync   `koanf:"sync"`
	KeyWindow    time.Duration `koanf:"key_window"`
	Keys         int           `koanf:"keys"`
	Receipts     receipts.Mode `koanf:"receipts"`
	NoPresence   bool          `koanf:"no_presence"`
	Pressure     hub.Pressure  `koanf:"pressure"`
	SampleEvery  time.Duration `koanf:"sample_every"`
	PressureKey  string        `koanf:"pressure_key"`
	BatchDelay   time.Duration `koanf:"batch_delay"`
	BatchBytes   int           `koanf:"batch_bytes"`
}

// Rule grants actions on the topics of a pattern to roles.
type Rule struct {
	Roles   []string `koanf:"roles"`
	Actions []string `koanf:"actions"`
	Pattern string   `koanf:"pattern"`
}

// Formats of the log.
const (
	FormatAuto = "auto"
	FormatText = "text"
	FormatJSON = "json"
)

// Defaults returns what holds when nothing is set.
func Defaults() Config {
	node, err := os.Hostname()
	if err != nil || node == "" {
		node = "parley"
	}
	return Config{
		Addr: "127.0.0.1:8080", Data: "./data", Node: node, Broker: "file:",
		Community:   true,
		Log:         Log{Level: slog.LevelInfo, Format: FormatAuto},
		JWT:         JWT{Leeway: 10 * time.Second},
		Heartbeat:   Heartbeat{Interval: 25 * time.Second, Timeout: 10 * time.Second},
		Compression: Compression{MinBytes: 512},
		Limits: Limits{
			MessageBytes: 64 << 10, QueueBytes: 1 << 20, Subscriptions: 1000, Calls: 16,
			ConnectionsPerUser: 100, AcceptRate: 20_000, AcceptRatePerAddress: 5_000, ConnectTimeout: 5 * time.Second,
			ResumeWindow: 2 * time.Minute, SessionExpiry: 7 * 24 * time.Hour,
		},
		Shutdown: Shutdown{Timeout: 30 * time.Second},
	}
}
