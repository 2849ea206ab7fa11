package main

import (
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// builtins tells Vault's plugin catalogue which engines are compiled in; without
// it every mount is refused as an unknown plugin. Vault's own registry would
// link every engine there is.
type builtins struct{}

func (builtins) of(t consts.PluginType) map[string]logical.Factory {
	switch t {
	case consts.PluginTypeCredential:
		return credentials
	case consts.PluginTypeSecrets:
		return secrets
	default:
		return nil
	}
}

// Contains reports whether the engine is compiled in.
func (b builtins) Contains(name string, t consts.PluginType) bool {
	_, ok := b.of(t)[name]
	return ok
}

// Get returns what makes the engine.
func (b builtins) Get(name string, t consts.PluginType) (func() (interface{}, error), bool) {
	f, ok := b.of(t)[name]
	return func() (interface{}, error) { return f, nil }, ok
}

// Keys lists the engines of one type.
func (b builtins) Keys(t consts.PluginType) (names []string) {
	for name := range b.of(t) {
		names = append(names, name)
	}
	return names
}

// DeprecationStatus is always supported for what is compiled in.
func (b builtins) DeprecationStatus(name string, t consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, b.Contains(name, t)
}
