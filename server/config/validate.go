package config

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/jwt"
	"github.com/parleyhq/parley/topic"
)

// validate checks what a type cannot: each problem is noted at its setting.
func (l *loader) validate(c Config) {
	l.validateAddress(c)
	if c.Data == "" {
		l.problemf("data", "data: name a folder")
	}
	if c.Node == "" || len(c.Node) > 64 || strings.ContainsAny(c.Node, " \t\n/\"") {
		l.problemf("node", "node: %q: use up to 64 letters, digits and dashes", c.Node)
	}
	if _, _, ok := strings.Cut(c.Broker, ":"); !ok {
		l.problemf("broker", "broker: %q is no address: write file: or memory:", c.Broker)
	}
	if !slices.Contains([]string{FormatAuto, FormatText, FormatJSON}, c.Log.Format) {
		l.problemf("log.format", "log.format: %q: use auto, text or json", c.Log.Format)
	}
	if _, err := auth.NewOrigins(c.PublicURL); err != nil {
		l.problemf("public_url", "public_url: %v", err)
	}
	for i, o := range c.Origins {
		if _, err := auth.NewOrigins("", o); err != nil {
			l.problemf(l.item("origins", i), "origins: %v", err)
		}
	}
	for i, k := range c.APIKeys {
		switch {
		case strings.ContainsAny(k, " \t\r\n"):
			l.problemf(l.item("api_key", i), "api_key: a key cannot hold spaces")
		case len(k) < 16:
			l.warnings = append(l.warnings, "an API key has fewer than 16 letters and could be guessed: make one with `openssl rand -hex 32`")
		}
	}
	l.validateJWT(c.JWT)
	l.validateNumbers(c)
	l.validateTopics(c)
	l.validateRules(c)
}

func (l *loader) item(key string, i int) string {
	at := fmt.Sprintf("%s[%d]", key, i)
	if l.origins[at] != "" {
		return at
	}
	return key
}

func (l *loader) validateAddress(c Config) {
	for key, addr := range map[string]string{"addr": c.Addr, "frame_addr": c.FrameAddr, "mqtt_addr": c.MQTTAddr} {
		if addr == "" && key != "addr" {
			continue // it is not wanted
		}
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			l.problemf(key, "%s: %q is no address: write host:port, as 127.0.0.1:8080 or :8080", key, addr)
		}
	}
}

func (l *loader) validateJWT(c JWT) {
	if c.Secret != "" && len(c.Secret) < jwt.MinSecret {
		l.problemf("jwt.secret", "jwt.secret: %d bytes are too few, an HS256 secret has at least %d: make one with `openssl rand -hex 32`",
			len(c.Secret), jwt.MinSecret)
	}
	if c.PublicKey != "" {
		if _, err := os.Stat(c.PublicKey); err != nil {
			l.problemf("jwt.public_key", "jwt.public_key: %v", err)
		}
	}
	if c.Secret == "" && c.PublicKey == "" && (c.Issuer != "" || c.Audience != "") {
		key := "jwt.issuer"
		if c.Issuer == "" {
			key = "jwt.audience"
		}
		l.problemf(key, "%s: this is about tokens of others, and neither jwt.secret nor jwt.public_key says which", key)
	}
}

func (l *loader) validateNumbers(c Config) {
	for key, n := range map[string]int{
		"limits.message_bytes": c.Limits.MessageBytes, "limits.queue_bytes": c.Limits.QueueBytes,
		"limits.subscriptions": c.Limits.Subscriptions, "limits.calls": c.Limits.Calls,
		"limits.connections_per_user": c.Limits.ConnectionsPerUser, "compression.min_bytes": c.Compression.MinBytes,
	} {
		if n < 1 {
			l.problemf(key, "%s: %d: at least 1", key, n)
		}
	}
	for key, n := range map[string]int{
		"limits.connections": c.Limits.Connections, "limits.connections_per_address": c.Limits.ConnectionsPerAddress,
		"limits.accept_rate": c.Limits.AcceptRate, "limits.accept_rate_per_address": c.Limits.AcceptRatePerAddress,
	} {
		if n < 0 {
			l.problemf(key, "%s: %d: 0 for no limit, or more", key, n)
		}
	}
	for key, d := range map[string]time.Duration{"heartbeat.interval": c.Heartbeat.Interval, "heartbeat.timeout": c.Heartbeat.Timeout} {
		if d < time.Second {
			l.problemf(key, "%s: %v: at least 1s, written as 25s", key, d)
		}
	}
	for key, d := range map[string]time.Duration{
		"limits.connect_timeout": c.Limits.ConnectTimeout, "limits.resume_window": c.Limits.ResumeWindow, "limits.session_expiry": c.Limits.SessionExpiry,
		"shutdown.timeout": c.Shutdown.Timeout,
	} {
		if d < 100*time.Millisecond {
			l.problemf(key, "%s: %v is too short: write a time such as 25s", key, d)
		}
	}
	for key, d := range map[string]time.Duration{"limits.idle_timeout": c.Limits.IdleTimeout, "jwt.leeway": c.JWT.Leeway, "mqtt_keep_alive": c.MQTTKeepAlive} {
		if d < 0 {
			l.problemf(key, "%s: %v: a time cannot be negative", key, d)
		}
	}
}

func (l *loader) validateTopics(c Config) {
	for i, t := range c.Topics {
		at := fmt.Sprintf("topics[%d]", i)
		if _, err := topic.ParseFilter(t.Pattern); err != nil {
			l.problemf(at+".pattern", "topics: pattern %q: %v", t.Pattern, err)
		}
		if t.History < 0 || t.HistoryAge < 0 {
			l.problemf(at+".history", "topics: a history cannot be negative")
		}
		l.validateDurable(at, c, t)
		if t.SampleEvery < 0 || t.BatchDelay < 0 || t.BatchBytes < 0 {
			l.problemf(at, "topics: sample_every, batch_delay and batch_bytes cannot be negative")
		}
		if t.BatchBytes > 0 && t.BatchDelay == 0 {
			l.problemf(at+".batch_bytes", "topics: batch_bytes needs batch_delay, such as 20ms")
		}
	}
}

// validateDurable checks what is said about durable topics.
func (l *loader) validateDurable(at string, c Config, t Topic) {
	if t.HistoryBytes < 0 || t.Keys < 0 || t.KeyWindow < 0 {
		l.problemf(at, "topics: history_bytes, keys and key_window cannot be negative")
	}
	switch {
	case !t.Durable && l.origins[at+".sync"] != "":
		l.problemf(at+".sync", "topics: sync is about durable topics: set durable: true, or leave it out")
	case !t.Durable:
	case strings.HasPrefix(c.Broker, "memory:"):
		l.problemf(at+".durable", "topics: %s cannot be durable with the broker memory:, which keeps nothing beyond the process: use file:", t.Pattern)
	case t.History == 0:
		l.problemf(at+".durable", "topics: a durable topic keeps messages: set history, for example 100000")
	}
}

// AuthRules returns the rules for package auth, the default ones when none are
// configured.
func (c Config) AuthRules() []auth.Rule {
	if len(c.Rules) == 0 {
		return auth.DefaultRules()
	}
	out := make([]auth.Rule, len(c.Rules))
	for i, r := range c.Rules {
		out[i] = auth.Rule{Roles: r.Roles, Pattern: r.Pattern}
		for _, a := range r.Actions {
			out[i].Actions = append(out[i].Actions, auth.Action(a))
		}
	}
	return out
}

func (l *loader) validateRules(c Config) {
	for i, r := range c.AuthRules() {
		if err := r.Validate(); err != nil {
			l.problemf(fmt.Sprintf("rules[%d]", i), "%v", err)
		}
	}
}
