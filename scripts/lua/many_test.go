package lua_test

import (
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestRunMany(t *testing.T) {
	env := securecachetest.Start(t)
	ctx, r := t.Context(), lua.NewRunner(env.Client, nil)
	env.Admin.ScriptFlush(ctx)
	env.Client.Set(ctx, "sc:test:v:{there}", head('1', 0), time.Minute)
	env.Admin.HSet(ctx, "sc:test:v:{wrong}", "field", "value")
	calls := []lua.Call{
		{Keys: []string{"sc:test:v:{none}"}, Args: []any{1000, 0}},
		{Keys: []string{"sc:test:v:{there}"}, Args: []any{600_000, 0}},
		{Keys: []string{"sc:test:v:{wrong}"}, Args: []any{1000, 0}},
		{Keys: []string{"sc:other:v:{foreign}"}, Args: []any{1000, 0}},
	}
	outcomes := r.RunMany(ctx, lua.Touch, calls, nil)
	for i, want := range []int64{-2, 600_000} {
		if got, err := outcomes[i].Int(); outcomes[i].Err != nil || err != nil || got != want {
			t.Errorf("%d: %d, %v, %v", i, got, outcomes[i].Err, err)
		}
	}
	refused := map[int]string{2: "WRONGTYPE", 3: "NOPERM"}
	if env.Server.Lacks() != nil {
		delete(refused, 3) // the embedded server has no ACL
	}
	for i, want := range refused {
		if err := outcomes[i].Err; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %s", i, err, want)
		}
	}
	if got := r.RunMany(ctx, lua.Touch, nil, nil); len(got) != 0 {
		t.Errorf("no calls: %v", got)
	}
}
