package localbroker_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/brokertest"
	"github.com/parleyhq/parley/broker/localbroker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	brokertest.Test(t, func(testing.TB) broker.Broker { return localbroker.New(localbroker.Limits{}) })
}
