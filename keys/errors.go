package keys

import "errors"

// What callers branch on. Errors of this package wrap one of these where their
// doc says so; they never hold a key byte, a wrapped key or a name.
var (
	// ErrNotFound: the store holds no document.
	ErrNotFound = errors.New("keys: there is no keyring in this store; create one first")
	// ErrExists: the store holds a document already.
	ErrExists = errors.New("keys: this store holds a keyring already; open it, or choose another place")
	// ErrConflict: the document has changed since it was read.
	ErrConflict = errors.New("keys: the keyring was changed by somebody else meanwhile; try again")
	// ErrDocument: the document is malformed, belongs to another namespace, or
	// does not authenticate.
	ErrDocument = errors.New("keys: the keyring document is refused; restore it from where only its owners write")
	// ErrRollback: the document is older than one this process has seen, or
	// another under the same revision.
	ErrRollback = errors.New("keys: the keyring was rolled back; restore its newest document")
	// ErrReplaced: the document authenticates, but its names key or its layout
	// is not the one this process opened. Neither ever changes in a namespace.
	ErrReplaced = errors.New("keys: another keyring stands in the place of the one that was opened; restore it, or restart to accept the new one")
	// ErrScheme: an entry was wrapped by another kind of wrapper than the one
	// configured.
	ErrScheme = errors.New("keys: the keyring was not wrapped by the wrapper configured; configure the one that wrapped it")
	// ErrUnwrap: the wrapper does not accept the wrapped key: another secret
	// wrapped it, or it was wrapped for another place.
	ErrUnwrap = errors.New("keys: the wrapped key does not open; check the passphrase or key-encryption key, and that the document is this namespace's")
	// ErrStale: the keyring could not be refreshed for longer than MaxOffline.
	ErrStale = errors.New("keys: the keyring has not been refreshed for longer than its offline time; see that its store and its wrapper can be reached")
	// ErrInUse: the key seals, is to seal, or may have sealed what is still alive.
	ErrInUse = errors.New("keys: the key is in use")
	// ErrUnknownKey: the keyring lists no such key.
	ErrUnknownKey = errors.New("keys: the keyring lists no key of this id")
	// ErrClosed: the keyring was closed.
	ErrClosed = errors.New("keys: the keyring is closed")
)
