package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/vault/api"
)

// Secret is where a token, a secret id or a JWT comes from. It is asked at each
// login, and shows nothing under any fmt verb.
type Secret func() (string, error)

// Value is a secret that is known beforehand.
func Value(secret string) Secret { return func() (string, error) { return secret, nil } }

// File is a secret in a file, read anew at each login. White space around it is
// dropped; an empty file is an error.
func File(path string) Secret {
	return func() (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, 1<<20))
		if err != nil {
			return "", err
		}
		if s := strings.TrimSpace(string(b)); s != "" {
			return s, nil
		}
		return "", fmt.Errorf("%s is empty", path)
	}
}

// Login is a way to get a token. It shows its method's name and no secret. The
// zero Login is no login; [Config] reads it as [FromEnvironment].
type Login struct {
	name, remedy string
	// do returns the answer and the secrets that it sent.
	do func(ctx context.Context, c *api.Client) (secret *api.Secret, sent []string, err error)
}

// String returns the method and its mount.
func (l Login) String() string { return l.name }

// Token uses a token that somebody else obtained. It is renewed while Vault
// permits that; from then on only a new one in its place helps, so long-lived
// processes take a [File] that is kept up to date, such as a Vault agent's sink.
// The token must be allowed to look itself up, as Vault's default policy grants.
func Token(token Secret) Login {
	return Login{name: "token", remedy: "get a new token: vault login, or vault token create", do: func(ctx context.Context, c *api.Client) (*api.Secret, []string, error) {
		t, err := read("token", token)
		if err != nil {
			return nil, nil, err
		}
		c.SetToken(t)
		var out struct {
			Data struct {
				TTL       json.Number `json:"ttl"`
				Expires   *string     `json:"expire_time"`
				Renewable bool        `json:"renewable"`
			} `json:"data"`
		}
		if err := send(ctx, c, opRead, "auth/token/lookup-self", nil, &out); err != nil {
			return nil, []string{t}, err
		}
		ttl, err := out.Data.TTL.Int64()
		if err != nil {
			return nil, nil, errAnswer
		}
		if out.Data.Expires != nil {
			// Less than a second is not for ever.
			ttl = max(ttl, 1)
		}
		return &api.Secret{Auth: &api.SecretAuth{ClientToken: t, LeaseDuration: int(ttl), Renewable: out.Data.Renewable}}, nil, nil
	}}
}

// AppRole logs in with a role id and a secret id. Mount is where the method is
// enabled, "" meaning approle.
func AppRole(mount, roleID string, secretID Secret) Login {
	mount = or(mount, "approle")
	return Login{name: "approle at auth/" + mount, remedy: "check the role id and the secret id, which may have expired or be used up", do: func(ctx context.Context, c *api.Client) (*api.Secret, []string, error) {
		id, err := read("secret id", secretID)
		if err != nil {
			return nil, nil, err
		}
		return login(ctx, c, mount, map[string]string{"role_id": roleID, "secret_id": id}, id)
	}}
}

// ServiceAccount is where a pod finds the JWT of its service account.
const ServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// Kubernetes logs in as a pod's service account. Mount is where the method is
// enabled, "" meaning kubernetes; a nil jwt is the file [ServiceAccount].
func Kubernetes(mount, role string, jwt Secret) Login {
	mount = or(mount, "kubernetes")
	if jwt == nil {
		jwt = File(ServiceAccount)
	}
	return Login{name: "kubernetes at auth/" + mount, remedy: "check the role, and that it is bound to this service account and namespace", do: func(ctx context.Context, c *api.Client) (*api.Secret, []string, error) {
		token, err := read("service account's token", jwt)
		if err != nil {
			return nil, nil, err
		}
		return login(ctx, c, mount, map[string]string{"role": role, "jwt": token}, token)
	}}
}

// Certificate logs in with the client certificate of [Config] or of
// VAULT_CLIENT_CERT. Mount is where the method is enabled, "" meaning cert; role
// is the one to log in as, "" meaning any that the certificate matches.
func Certificate(mount, role string) Login {
	mount = or(mount, "cert")
	return Login{name: "certificate at auth/" + mount, remedy: "check that VAULT_CLIENT_CERT is set and that a role trusts the certificate's CA", do: func(ctx context.Context, c *api.Client) (*api.Secret, []string, error) {
		body := map[string]string{}
		if role != "" {
			body["name"] = role
		}
		return login(ctx, c, mount, body)
	}}
}

// Method logs in by any of Vault's other methods, such as AWS or GCP; its own
// package under github.com/hashicorp/vault/api/auth provides the AuthMethod.
// What the method puts into its errors is shown as it is.
func Method(name string, m api.AuthMethod) Login {
	return Login{name: name, remedy: "check the method's settings", do: func(ctx context.Context, c *api.Client) (*api.Secret, []string, error) {
		s, err := m.Login(ctx, c)
		return s, nil, err
	}}
}

// login posts body to a method's login and returns the answer.
func login(ctx context.Context, c *api.Client, mount string, body map[string]string, sent ...string) (*api.Secret, []string, error) {
	path := "auth/" + mount + "/login"
	if err := checkPath(path); err != nil {
		return nil, nil, &localError{err.Error()}
	}
	var out api.Secret
	err := send(ctx, c, opUpdate, path, body, &out)
	return &out, sent, err
}

// read gets a secret, and refuses an empty one before Vault does.
func read(what string, s Secret) (string, error) {
	if s == nil {
		return "", &localError{"vault: the login has no " + what}
	}
	v, err := s()
	if err == nil && v == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", &localError{fmt.Sprintf("vault: the %s cannot be read: %v", what, err)}
	}
	return v, nil
}

// FromEnvironment returns the first login that the environment offers:
//
//	VAULT_TOKEN                                             a token
//	VAULT_TOKEN_FILE                                        a file with one, read at each login
//	VAULT_ROLE_ID, VAULT_SECRET_ID_FILE or VAULT_SECRET_ID  AppRole
//	VAULT_K8S_ROLE, VAULT_K8S_TOKEN_FILE (optional)         Kubernetes
//	VAULT_CERT_ROLE                                         TLS certificate, with VAULT_CLIENT_CERT and _KEY
//	~/.vault-token                                          the token that vault login left
//	VAULT_CLIENT_CERT                                       TLS certificate, any role
//
// VAULT_AUTH_MOUNT is where the method is enabled, if not where it usually is.
func FromEnvironment() (Login, error) {
	env, mount := os.Getenv, os.Getenv("VAULT_AUTH_MOUNT")
	switch {
	case env("VAULT_TOKEN") != "":
		return Token(Value(env("VAULT_TOKEN"))), nil
	case env("VAULT_TOKEN_FILE") != "":
		return Token(File(env("VAULT_TOKEN_FILE"))), nil
	case env("VAULT_ROLE_ID") != "":
		return AppRole(mount, env("VAULT_ROLE_ID"), fileOrValue("VAULT_SECRET_ID")), nil
	case env("VAULT_K8S_ROLE") != "":
		var jwt Secret
		if file := env("VAULT_K8S_TOKEN_FILE"); file != "" {
			jwt = File(file)
		}
		return Kubernetes(mount, env("VAULT_K8S_ROLE"), jwt), nil
	case env("VAULT_CERT_ROLE") != "":
		return Certificate(mount, env("VAULT_CERT_ROLE")), nil
	}
	if home, err := os.UserHomeDir(); err == nil {
		file := filepath.Join(home, ".vault-token")
		if _, err := os.Stat(file); err == nil {
			return Token(File(file)), nil
		}
	}
	if env(api.EnvVaultClientCert) != "" {
		return Certificate(mount, ""), nil
	}
	return Login{}, errors.New("vault: no login: set VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_ROLE_ID with VAULT_SECRET_ID_FILE, VAULT_K8S_ROLE or VAULT_CERT_ROLE, or run: vault login")
}

func fileOrValue(name string) Secret {
	if file := os.Getenv(name + "_FILE"); file != "" {
		return File(file)
	}
	return Value(os.Getenv(name))
}

func or(s, otherwise string) string {
	if s = strings.Trim(s, "/"); s != "" {
		return s
	}
	return otherwise
}
