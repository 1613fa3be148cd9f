package transport

// Traffic is what a transport has carried since the start, for the metrics.
type Traffic struct {
	Transport         string // as session.Info has it
	BytesIn, BytesOut uint64
	FramesIn          uint64            // or packets, or requests
	Dropped           uint64            // events left out for receivers under pressure
	Skipped           map[string]uint64 // messages, by the policy of their topic
}

// Carrier is a transport that tells it.
type Carrier interface{ Traffic() Traffic }
