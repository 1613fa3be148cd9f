// Package tally counts by a word, such as the reason why something ended.
package tally

import (
	"sync"
	"sync/atomic"
)

// Counts is how often each word was counted. The zero Counts is empty; it must
// not be copied once it was used. Methods may be called concurrently.
type Counts struct{ words sync.Map } // of *atomic.Uint64

// Add counts one more of word.
func (c *Counts) Add(word string) {
	v, ok := c.words.Load(word)
	if !ok {
		v, _ = c.words.LoadOrStore(word, new(atomic.Uint64))
	}
	if n, ok := v.(*atomic.Uint64); ok {
		n.Add(1)
	}
}

// All returns the counts of all words.
func (c *Counts) All() map[string]uint64 {
	out := make(map[string]uint64)
	c.words.Range(func(k, v any) bool {
		word, _ := k.(string)
		if n, ok := v.(*atomic.Uint64); ok {
			out[word] = n.Load()
		}
		return true
	})
	return out
}
