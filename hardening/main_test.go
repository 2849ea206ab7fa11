package hardening_test

import (
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"github.com/securecache/securecache-go/internal/server/servertest"
)

func TestMain(m *testing.M) {
	logging.Disable() // it tells of every refusal, and the tests are full of them
	servertest.Main(m)
}
