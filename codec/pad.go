package codec

import "math/bits"

const (
	padByte   = 0x80
	minPadded = 64
)

// paddedSize returns how long n bytes are once they are padded: Padmé (Nikitin
// et al., "Reducing Metadata Leakage from Encrypted Files and Communication
// with PURBs", 2019) of n and the padding's first byte, and minPadded at
// least. It adds 12 % at most beyond that, and lengths below L leak
// O(log log L) bits.
func paddedSize(n int) int {
	if n < minPadded {
		return minPadded
	}
	size := uint(n) + 1
	exponent := bits.Len(size) - 1
	low := uint(1)<<(exponent-bits.Len(uint(exponent))) - 1
	return int((size + low) &^ low)
}

// pad fills dst behind its first n bytes.
func pad(dst []byte, n int) {
	dst[n] = padByte
	clear(dst[n+1:])
}

// unpad returns padded without its padding. The record has authenticated, so
// its timing tells an attacker nothing that the length does not.
func unpad(padded []byte) ([]byte, bool) {
	n := len(padded)
	for n > 0 && padded[n-1] == 0 {
		n--
	}
	if n == 0 || padded[n-1] != padByte {
		return nil, false
	}
	return padded[:n-1], true
}
