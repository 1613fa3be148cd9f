package wheel

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkSet moves the timers of 15,000 connections, from as many goroutines
// as there are processors and while the wheel turns a thousand times as fast as
// it does in a server: all on one wheel, and on wheels of their own as loops
// would have them.
func BenchmarkSet(b *testing.B) {
	const connections = 15_000
	for _, wheels := range []int{1, 2, 8} {
		b.Run(fmt.Sprintf("wheels=%d", wheels), func(b *testing.B) {
			all := make([]*Wheel, wheels)
			for i := range all {
				all[i] = New(100 * time.Microsecond)
				go all[i].Run(b.Context())
			}
			timers := make([]Timer, connections)
			var next atomic.Int64
			const stride = 64 // goroutines keep apart, as connections do
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if i%stride == 0 {
						i = int(next.Add(stride)) % (connections - stride)
						i -= i % stride
					}
					all[i%wheels].Set(&timers[i], 25*time.Millisecond, func(time.Time) {})
				}
			})
		})
	}
}
