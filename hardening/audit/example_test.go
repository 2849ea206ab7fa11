package audit_test

import (
	"context"
	"fmt"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening/audit"
)

// An audit before a service starts: ops administers the server, and the rest is
// held to what an application should be able to do.
func ExampleRun() {
	_ = func(ctx context.Context, rdb *redis.Client) error {
		report, err := audit.Run(ctx, rdb, &audit.Options{Admins: []string{"ops"}})
		if err != nil {
			return err
		}
		for _, one := range report.Found(audit.High) {
			fmt.Fprintln(os.Stderr, one.Check, one.Evidence, one.Remedy)
		}
		return nil
	}
}
