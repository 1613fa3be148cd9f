//go:build !linux

package proc

// Read returns ErrUnknown.
func Read(int) (Sample, error) { return Sample{}, ErrUnknown }
