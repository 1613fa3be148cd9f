package bench

import (
	"runtime"
	"time"

	"github.com/parleyhq/parley/bench/proc"
	"github.com/parleyhq/parley/bench/record"
)

// Report is what a run found out. It is also the JSON that is printed; a part
// is nil when the scenario does not measure it.
type Report struct {
	Scenario    Scenario  `json:"scenario"`
	URL         string    `json:"url"`
	Protocol    string    `json:"protocol"`
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"`
	Interrupted bool      `json:"interrupted,omitempty"`
	Machine     Machine   `json:"machine"`

	Connect  *Connect      `json:"connect,omitempty"`
	Idle     *IdleReport   `json:"idle,omitempty"`
	Messages *Messages     `json:"messages,omitempty"`
	Storm    *StormReport  `json:"storm,omitempty"`
	Slow     *SlowReport   `json:"slow,omitempty"`
	Resume   *ResumeReport `json:"resume,omitempty"`
	Soak     *SoakReport   `json:"soak,omitempty"`
	Server   *Server       `json:"server,omitempty"`
	Faults   record.Faults `json:"faults"`
	// Problems says in words what else was not as it must be.
	Problems []string `json:"problems,omitempty"`
}

// Machine is where the load ran.
type Machine struct {
	System string `json:"system"`
	CPUs   int    `json:"cpus"`
	Go     string `json:"go"`
}

func machine() Machine {
	return Machine{runtime.GOOS + "/" + runtime.GOARCH, runtime.NumCPU(), runtime.Version()}
}

// Connect is how connections came up: dialled, upgraded, signed in, subscribed.
type Connect struct {
	Connections int                `json:"connections"`
	Failed      int                `json:"failed"`
	Topics      int                `json:"topics"`
	PerSecond   float64            `json:"per_second"`
	Latency     record.Percentiles `json:"latency"`
	// CPU is the server's for one connection, in microseconds; 0: unknown.
	CPU float64 `json:"cpu_us,omitempty"`
}

// IdleReport is what connections cost that do nothing.
type IdleReport struct {
	Seconds float64 `json:"seconds"`
	// CPU is the server's share of one core while they idle; negative: unknown.
	Cores float64 `json:"cores"`
}

// Messages is how messages went through.
type Messages struct {
	Published  int64              `json:"published"`
	Expected   int64              `json:"expected"`
	Deliveries int64              `json:"deliveries"`
	InFlight   int                `json:"in_flight,omitempty"`
	Rate       float64            `json:"rate,omitempty"`
	Size       int                `json:"size"`
	Seconds    float64            `json:"seconds"`
	PerSecond  float64            `json:"deliveries_per_second"`
	Latency    record.Percentiles `json:"latency"`
	Bytes      float64            `json:"bytes_per_delivery"`
	// CPUDelivery and CPUMessage are the server's, in microseconds; 0: unknown.
	CPUDelivery float64 `json:"cpu_us_per_delivery,omitempty"`
	CPUMessage  float64 `json:"cpu_us_per_message,omitempty"`
	// Cores are those the server kept busy, LoadCores those this program did.
	Cores     float64 `json:"server_cores,omitempty"`
	LoadCores float64 `json:"load_cores,omitempty"`
}

// StormReport is how everybody came back.
type StormReport struct {
	Dropped  int   `json:"dropped"`
	Missed   int64 `json:"missed"` // messages published while they were away, all receivers together
	Returned int64 `json:"returned"`
	// BackSeconds is from the drop until all were connected again,
	// CaughtUpSeconds until all had what they missed.
	BackSeconds     float64            `json:"back_seconds"`
	CaughtUpSeconds float64            `json:"caught_up_seconds"`
	PerSecond       float64            `json:"per_second"`
	Latency         record.Percentiles `json:"latency"` // of one return: dial to subscribed
	CPU             float64            `json:"cpu_us,omitempty"`
}

// ResumeReport is what it takes to catch up, beside live delivery of the same.
type ResumeReport struct {
	Delivered   int64   `json:"delivered_live"`
	LiveSeconds float64 `json:"live_seconds"`
	Sessions    int     `json:"sessions"` // that were away
	Returned    int64   `json:"returned"`
	PerSecond   float64 `json:"returns_per_second"` // as asked for
	Missed      int64   `json:"missed"`             // messages that were caught up with, all sessions together
	// CaughtUpSeconds is from the first return until all had what they missed.
	CaughtUpSeconds float64 `json:"caught_up_seconds"`
	// Latency is of one return, dial to connected; CaughtUp is from the same
	// moment to the last message that was missed.
	Latency  record.Percentiles `json:"latency"`
	CaughtUp record.Percentiles `json:"latency_caught_up"`
	// CPULive and CPUCatchUp are the server's for one delivery, in
	// microseconds, the latter with all that coming back costs; 0: unknown.
	CPULive    float64 `json:"cpu_us_live,omitempty"`
	CPUCatchUp float64 `json:"cpu_us_catch_up,omitempty"`
	// CPUReturn is the server's for one session that comes back and has missed nothing.
	CPUReturn float64 `json:"cpu_us_return,omitempty"`
	// Ratio is CPUCatchUp to CPULive, RatioMessages without what coming back costs.
	Ratio         float64 `json:"cpu_ratio,omitempty"`
	RatioMessages float64 `json:"cpu_ratio_messages,omitempty"`
}

// SlowReport is what the slow few do to the others. Times and
// counts are those of all rounds of a kind together.
type SlowReport struct {
	Receivers int `json:"receivers"` // those that keep up
	Slow      int `json:"slow"`
	SlowRate  int `json:"slow_bytes_per_second"`
	Rounds    int `json:"rounds"` // of each kind
	// Without is the latency of those that keep up while all do, With while
	// the slow are slow.
	Without record.Percentiles `json:"latency_without"`
	With    record.Percentiles `json:"latency_with"`
	// The ratios are with the slow to without, of the medians of the rounds.
	RatioP50 float64 `json:"ratio_p50"`
	RatioP99 float64 `json:"ratio_p99"`
	// SlowGot is what a slow one took, in bytes a second.
	SlowGot float64 `json:"slow_got_bytes_per_second"`
	// Closed is how the slow saw their connections end, by close code,
	// ServerEnded how the server says that it ended connections, by reason.
	Closed      map[string]int64 `json:"closed,omitempty"`
	ServerEnded map[string]int64 `json:"server_ended,omitempty"`
	// Skipped are the messages that the server says it left out, SkippedTold
	// those of which a slow one has been told.
	Skipped     int64 `json:"skipped"`
	SkippedTold int64 `json:"skipped_told"`
	// RSSWithout and RSSWith are the most that the server held, Configured what
	// the queues of the slow may hold together.
	RSSWithout int64 `json:"rss_without_kb,omitempty"`
	RSSWith    int64 `json:"rss_with_kb,omitempty"`
	Configured int64 `json:"configured_kb"`
	// Sockets is the most that the system itself held for all connections of
	// the machine, which is in no process.
	SocketsWithout int64 `json:"socket_memory_without_kb,omitempty"`
	SocketsWith    int64 `json:"socket_memory_with_kb,omitempty"`
}

// SoakReport is whether the server holds no more at the end than at the start.
type SoakReport struct {
	Replaced int64    `json:"replaced"` // connections that left and came back or anew
	Samples  []Moment `json:"samples,omitempty"`
	// Flat is false when memory, descriptors, goroutines or sessions kept growing; nil:
	// the server's process is unknown, or the soak was too short to tell.
	Flat *bool `json:"flat,omitempty"`
}

// Moment is one look at the server during a soak.
type Moment struct {
	Second      float64 `json:"second"`
	Connections int64   `json:"connections"`
	RSS         int64   `json:"rss_kb"`
	Descriptors int     `json:"descriptors"`
	Goroutines  int     `json:"goroutines,omitempty"`
	// Sessions are those the server keeps, with a connection or without.
	Sessions int `json:"sessions,omitempty"`
}

// Server is the server's process. Memory is in kilobytes of 1,024 bytes.
type Server struct {
	PID int `json:"pid"`
	// RSSStart is before the first connection, RSSIdle when all had connected
	// and settled, RSSEnd after all.
	RSSStart int64   `json:"rss_start_kb"`
	RSSIdle  int64   `json:"rss_idle_kb"`
	RSSEnd   int64   `json:"rss_end_kb"`
	RSSConn  float64 `json:"rss_kb_per_connection"`
	// Goroutines are those of a Parley that shows its metrics; 0: unknown.
	GoroutinesStart int `json:"goroutines_start,omitempty"`
	GoroutinesIdle  int `json:"goroutines_idle,omitempty"`
	Descriptors     int `json:"descriptors_idle"`
	Threads         int `json:"threads_idle"`
}

// Failed tells whether something was not as it must be.
func (r *Report) Failed() bool {
	return r.Faults.Any() || len(r.Problems) > 0 || r.Connect != nil && r.Connect.Failed > 0
}

// perEach is the time for one of n, in microseconds.
func perEach(from, to proc.Sample, n int64) float64 {
	if n <= 0 || to.CPU == 0 {
		return 0
	}
	return rounded(float64((to.CPU - from.CPU).Nanoseconds()) / 1000 / float64(n))
}

// rate is how many of n there were in a second.
func rate(n int64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return rounded(float64(n) / took.Seconds())
}

func seconds(d time.Duration) float64 { return rounded(d.Seconds()) }

// rounded keeps three decimals.
func rounded(f float64) float64 {
	const decimals = 1000
	return float64(int64(f*decimals+0.5)) / decimals
}
