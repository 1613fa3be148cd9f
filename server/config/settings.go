package config

import (
	"strings"
)

// Setting is one line of the documentation, and what the loader must know
// about the setting.
type Setting struct {
	Key string
	// Doc is one or two sentences for the operator.
	Doc string
	// List settings take several values, separated by commas in a variable or
	// a flag.
	List bool
	// Secret values are never shown.
	Secret bool
	// Items names the fields of a list of objects, which only a file can hold.
	Items []Setting
	// Default replaces the default in the documentation where it depends on
	// the machine.
	Default string
}

// Env is the environment variable that sets the setting, or "" when none can.
func (s Setting) Env() string {
	if len(s.Items) > 0 {
		return ""
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

const envPrefix = "PARLEY_"

// Settings lists every setting in the order of the documentation.
func Settings() []Setting {
	return append(basics(), details()...)
}

func basics() []Setting {
	return []Setting{
		{Key: "addr", Doc: "Where to listen, as host:port. `:8080` listens on every network of the machine."},
		{Key: "frame_addr", Doc: "Where to listen for devices that speak framed TCP, as `:7070`. Not set: nowhere."},
		{Key: "mqtt_addr", Doc: "Where to listen for MQTT clients, as `:1883`. Not set: nowhere; over WebSocket MQTT is always at `/mqtt`."},
		{Key: "mqtt_keep_alive", Doc: "The longest keep alive of MQTT 5 clients: those that ask for more, or none, are told to use it. 0: what they ask for."},
		{Key: "mqtt_redirect", Doc: "The server that MQTT 5 clients are told to use while this one shuts down, as `two.example.com:1883`."},
		{Key: "data", Doc: "The folder for everything that lasts: keys, durable topics, sessions and the community's database. " +
			"One process at a time uses it."},
		{Key: "node", Default: "the host's name", Doc: "The name of this process in logs, metrics and answers."},
		{Key: "broker", Doc: "The engine that numbers, keeps and carries messages. " +
			"`file:` keeps durable topics in the folder `store` in `data`, or in another as `file:/var/lib/parley`; " +
			"`memory:` keeps nothing beyond the process."},
		{Key: "api_key", List: true, Secret: true, Doc: "Keys for the REST API; whoever holds one may do everything. Several, while one replaces another."},
		{Key: "public_url", Doc: "The address people open, as `https://chat.example.com`. Set it behind a proxy that changes the Host header."},
		{Key: "origins", List: true, Doc: "Pages of other sites that may connect: `https://app.example.com`, `https://*.example.com`, or `*` for any."},
		{Key: "trusted_proxies", List: true, Doc: "Networks of proxies whose X-Forwarded headers are believed, as `10.0.0.0/8`."},
		{Key: "community", Doc: "Serve the community (forum, rooms, direct messages) at `/`."},
		{Key: "anonymous", Doc: "Let clients connect that have not signed in. Rules for the role `*` say what they may do."},
		{Key: "log.level", Doc: "What to log: `debug`, `info`, `warn` or `error`."},
		{Key: "log.format", Doc: "`text`, `json`, or `auto`: text on a terminal and JSON elsewhere."},
	}
}

const defaultTopics = "`public/durable/#` is durable where the broker is `file:`: 1,000,000 messages, 7 days, 1 GiB a topic"

const defaultRules = "`public/#` and `user/{user}/#` for whoever is signed in"

func details() []Setting {
	return []Setting{
		{Key: "jwt.secret", Secret: true, Doc: "Accept HS256 bearer tokens signed with this secret of at least 32 bytes."},
		{Key: "jwt.public_key", Doc: "Accept EdDSA bearer tokens that fit the Ed25519 public key in this PEM file."},
		{Key: "jwt.issuer", Doc: "What the `iss` claim of those tokens must be."},
		{Key: "jwt.audience", Doc: "What the `aud` claim of those tokens must hold."},
		{Key: "jwt.leeway", Doc: "How far clocks may disagree when `exp` and `nbf` are checked."},
		{Key: "heartbeat.interval", Doc: "How often a connection is pinged."},
		{Key: "heartbeat.timeout", Doc: "How long the answer to a ping may take before the connection counts as dead."},
		{Key: "heartbeat.strategy", Doc: "When to ping: `fixed`: once an interval; " +
			"`adaptive`: down to once in eight intervals while the client says something; `on-idle`: only when nothing was heard for an interval."},
		{Key: "compression.enabled", Doc: "Compress messages for WebSocket clients that ask for it, as browsers do: less traffic, more work."},
		{Key: "compression.min_bytes", Doc: "Messages with fewer bytes are sent as they are."},
		{Key: "limits.message_bytes", Doc: "The largest message a client may send."},
		{Key: "limits.queue_bytes", Doc: "How much may wait to be written to one client before it is cut off as too slow."},
		{Key: "limits.subscriptions", Doc: "How many topics and filters one connection may subscribe to."},
		{Key: "limits.calls", Doc: "How many calls of one connection may be under way at once."},
		{Key: "limits.connections", Doc: "How many connections this process accepts; 0 for no limit."},
		{Key: "limits.connections_per_user", Doc: "How many connections one user may have."},
		{Key: "limits.connections_per_address", Doc: "How many connections one address may have; 0 for no limit. Behind a proxy set `trusted_proxies` too."},
		{Key: "limits.accept_rate", Doc: "How many connections a second may be opened, ten times as many at once; 0 for no limit."},
		{Key: "limits.accept_rate_per_address", Doc: "The same of one address; 0 for no limit. Behind a proxy set `trusted_proxies` too."},
		{Key: "limits.connect_timeout", Doc: "How long a connection may take to say who it is."},
		{Key: "limits.idle_timeout", Doc: "Close connections that say nothing but pong for this long; 0 for never."},
		{Key: "limits.resume_window", Doc: "How long after losing its connection a client can take its session up again."},
		{Key: "limits.session_expiry", Doc: "The longest a session is kept without a connection, " +
			"and how long that of a named device with subscriptions at QoS 1 is kept."},
		{Key: "shutdown.timeout", Doc: "How long the server may take to end before what is left is cut off."},
		{Key: "topics", Default: defaultTopics, Doc: "How topics behave; the most specific pattern decides.", Items: []Setting{
			{Key: "pattern", Doc: "A topic filter such as `public/#`."},
			{Key: "history", Doc: "How many messages each topic keeps."},
			{Key: "history_age", Doc: "For how long; `5m` unless set, `168h` for durable topics."},
			{Key: "history_bytes", Doc: "About how many bytes of them; 0 for no limit."},
			{Key: "durable", Doc: "`true`: messages are on the disk, and outlive the process. It needs the broker `file:`."},
			{Key: "sync", Doc: "When a message of a durable topic counts as accepted: `always` (the default): when it is on the disk; " +
				"`interval`: at once, and it is on the disk within a second; `never`: at once, and it is on the disk when the system thinks fit. " +
				"What is not on the disk is lost when the process is killed or the power is cut."},
			{Key: "key_window", Doc: "How long the key of a publish is remembered, so that a repeat of it is stored once; " +
				"`history_age` unless set, and at least `5m`."},
			{Key: "keys", Doc: "For how many publishes of a topic at most; 10000 unless set."},
			{Key: "receipts", Doc: "What the people on a topic are told about how far the others have got: `none` (the default); " +
				"`auto`: who, up to 100 people, then how many, up to 1,000, then nothing; `who`: names up to 1,000; `counts`: no names."},
			{Key: "no_presence", Doc: "`true`: nobody can ask who is there. Worth it for topics with very many receivers."},
			{Key: "pressure", Doc: "What happens to messages for a receiver that does not take them as fast as they come: " +
				"`disconnect` (the default) ends its connection when its queue is full; `drop-oldest` gives up the oldest that wait; " +
				"`latest-by-key` keeps the newest of each key; `sample` keeps the newest of each interval; `spill` (the default of durable topics) " +
				"waits until it takes more and goes on from the history. It is told what it was not sent."},
			{Key: "sample_every", Doc: "The interval of `sample`; `1s` unless set."},
			{Key: "pressure_key", Doc: "The message's header that holds the key of `latest-by-key`; `key` unless set."},
			{Key: "batch_delay", Doc: "How long what is sent to a receiver may wait for more, so that fewer, larger writes are made. Not set: not at all."},
			{Key: "batch_bytes", Doc: "How much waits at most in a batch; `16384` unless set."},
		}},
		{Key: "rules", Default: defaultRules, Doc: "Who may do what. Rules only grant; a list here replaces the default.", Items: []Setting{
			{Key: "roles", List: true, Doc: "Those it is for. Empty: any signed-in user; `*`: everybody."},
			{Key: "actions", List: true, Doc: "Of `subscribe`, `publish`, `presence`, `history`, `manage`."},
			{Key: "pattern", Doc: "A topic filter; `{user}` in it stands for the id of the user who asks."},
		}},
	}
}
