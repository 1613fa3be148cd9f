//go:build !linux

package proc

// SocketMemory returns ErrUnknown.
func SocketMemory() (int64, error) { return 0, ErrUnknown }

// Read returns ErrUnknown.
func Read(int) (Sample, error) { return Sample{}, ErrUnknown }
