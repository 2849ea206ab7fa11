package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/command/server"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
	"github.com/hashicorp/vault/version"
)

// The engines that are compiled in. Vault itself adds token, cubbyhole,
// identity and sys.
var (
	credentials = map[string]logical.Factory{
		"approle":    approle.Factory,
		"cert":       cert.Factory,
		"kubernetes": kubernetes.Factory,
	}
	secrets = map[string]logical.Factory{
		"kv":      kv.Factory,
		"transit": transit.Factory,
	}
)

func newLogger(level string, w io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.LevelFromString(level), Output: w})
}

// serve runs one server in dir until ctx is done or stdin ends.
func serve(ctx context.Context, dir, listen string, logger hclog.Logger, stdin io.Reader, stdout io.Writer) error {
	ln, err := loopback(listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	dir, remove, err := makeDir(dir)
	if err != nil {
		return err
	}
	defer remove()
	pki, err := writeCerts(dir)
	if err != nil {
		return err
	}
	address := "https://" + ln.Addr().String()
	core, err := newCore(address, logger)
	if err != nil {
		return err
	}
	defer core.ShutdownWait()
	srv := newHTTP(core, pki.server)
	defer srv.Close()
	ended := make(chan error, 2)
	go func() { ended <- srv.ServeTLS(ln, "", "") }()
	r, err := prepare(ctx, core, address, dir, pki)
	if err != nil {
		return err
	}
	if err := announce(dir, r, stdout); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		ended <- nil
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// newHTTP returns what serves core's API. A client certificate is asked for and
// left to auth/cert to judge, as Vault's own listener does by default.
func newHTTP(core *vault.Core, cert tls.Certificate) *http.Server {
	return &http.Server{
		Handler:           vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
	}
}

// prepare initialises core, mounts the engines, and writes the secrets to dir.
func prepare(ctx context.Context, core *vault.Core, address, dir string, pki certs) (ready, error) {
	root, unsealKey, err := initialise(ctx, core)
	if err != nil {
		return ready{}, err
	}
	if err := mountAll(ctx, address, pki.ca, root); err != nil {
		return ready{}, err
	}
	r := ready{
		Version: version.GetVersion().VersionNumber(), PID: os.Getpid(), Address: address,
		CA: pki.caFile, ClientCert: pki.clientFile, ClientKey: pki.clientKeyFile,
		RootToken: filepath.Join(dir, "root-token"), UnsealKey: filepath.Join(dir, "unseal-key"),
	}
	return r, errors.Join(os.WriteFile(r.RootToken, []byte(root), 0o600), os.WriteFile(r.UnsealKey, []byte(unsealKey), 0o600))
}

// newCore returns a sealed core over memory.
func newCore(address string, logger hclog.Logger) (*vault.Core, error) {
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return nil, err
	}
	return vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		StorageType:        "inmem",
		Logger:             logger,
		DisableMlock:       true,
		RedirectAddr:       address,
		LogicalBackends:    secrets,
		CredentialBackends: credentials,
		BuiltinRegistry:    builtins{},
		// NewCore dereferences the shared part.
		RawConfig: &server.Config{SharedConfig: &configutil.SharedConfig{}},
	})
}

// initialise makes one unseal key and a root token, and unseals.
func initialise(ctx context.Context, core *vault.Core) (root, unsealKey string, err error) {
	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	res, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: one, RecoveryConfig: nil})
	if err != nil {
		return "", "", fmt.Errorf("initialise: %w", err)
	}
	for _, share := range res.SecretShares {
		if _, err := core.Unseal(share); err != nil {
			return "", "", fmt.Errorf("unseal: %w", err)
		}
	}
	if core.Sealed() {
		return "", "", errors.New("still sealed after the unseal key")
	}
	return res.RootToken, base64.StdEncoding.EncodeToString(res.SecretShares[0]), nil
}
