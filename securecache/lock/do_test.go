package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/securecache/securecache-go/securecache/lock"
)

var errWork = errors.New("the work failed")

func TestDo(t *testing.T) {
	env, l := start(t, nil)
	lose := func(ctx context.Context) {
		held, _ := lock.FromContext(ctx)
		ok(t, env.Admin.Del(context.WithoutCancel(ctx), held.Key().String()).Err())
	}
	for name, tc := range map[string]struct {
		ttl   time.Duration
		fn    func(ctx context.Context) error
		wants []error // nil: none
	}{
		"done":    {time.Minute, func(context.Context) error { return nil }, nil},
		"failed":  {time.Minute, func(context.Context) error { return errWork }, []error{errWork}},
		"locked":  {time.Minute, func(context.Context) error { _, err := l.Try(t.Context(), "job", time.Minute); return err }, []error{lock.ErrNotObtained}},
		"gone":    {time.Minute, func(ctx context.Context) error { lose(ctx); return nil }, []error{lock.ErrLost}},
		"another": {time.Minute, func(ctx context.Context) error { lose(ctx); try(t, l, "job", time.Second); return nil }, []error{lock.ErrLost}},
		"both": {time.Minute, func(ctx context.Context) error { lose(ctx); try(t, l, "job", time.Second); return errWork },
			[]error{lock.ErrLost, errWork}},
		"lost meanwhile": {500 * time.Millisecond, func(ctx context.Context) error {
			lose(ctx)
			returns(t, "the end", ctx.Done())
			return context.Cause(ctx)
		}, []error{lock.ErrLost}},
	} {
		t.Run(name, func(t *testing.T) {
			env.Admin.FlushAll(t.Context())
			err := l.Do(t.Context(), "job", tc.ttl, tc.fn)
			if (err == nil) != (tc.wants == nil) {
				t.Errorf("%v, want %v", err, tc.wants)
			}
			for _, want := range tc.wants {
				if !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			}
		})
	}
}

func TestDoReleasesInAnyCase(t *testing.T) {
	t.Parallel()
	_, l := start(t, nil)
	free := func(t *testing.T) {
		t.Helper()
		release(t, try(t, l, "job", time.Minute))
	}
	t.Run("a context that ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := l.Do(ctx, "job", time.Minute, func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) || errors.Is(err, lock.ErrLost) {
			t.Error(err)
		}
		free(t)
	})
	t.Run("a panic", func(t *testing.T) {
		func() {
			defer func() {
				if recover() != "panic" {
					t.Error("the panic is gone")
				}
			}()
			_ = l.Do(t.Context(), "job", time.Minute, func(context.Context) error { panic("panic") })
		}()
		free(t)
	})
	t.Run("not obtained", func(t *testing.T) {
		held := try(t, l, "job", time.Minute)
		defer release(t, held)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := l.Do(ctx, "job", time.Minute, func(context.Context) error { t.Error("it ran"); return nil })
		if !errors.Is(err, lock.ErrNotObtained) {
			t.Error(err)
		}
	})
}

func TestDoGivesTheValuesAndTheLock(t *testing.T) {
	_, l := start(t, nil)
	type key struct{}
	err := l.Do(context.WithValue(t.Context(), key{}, "value"), "job", time.Minute, func(ctx context.Context) error {
		held, there := lock.FromContext(ctx)
		if !there || held.Fence() <= 0 || ctx.Value(key{}) != "value" {
			t.Errorf("%v, %t, %v", held, there, ctx.Value(key{}))
		}
		return nil
	})
	ok(t, err)
}
