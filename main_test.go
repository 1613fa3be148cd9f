package parley_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

// TestMain keeps the panics and failures that tests provoke out of the output.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}
