package servertest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
)

func TestLate(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		700 * time.Millisecond:  -300 * time.Millisecond,
		1200 * time.Millisecond: 200 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			late := servertest.Late(time.Now().Add(time.Second))
			time.Sleep(took)
			if by := late(); by != want {
				t.Errorf("what took %v of a second was %v late, want %v", took, by, want)
			}
		})
	}
}
