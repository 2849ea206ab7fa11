package hardening_test

import (
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	logging.Disable() // it tells of every refusal, and the tests are full of them
	goleak.VerifyTestMain(m)
}
