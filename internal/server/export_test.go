package server

// Watch is the watchdog of systems without a death signal, for a test on those
// that have one.
var Watch = watch

// Divergent looks for shard ids that differ in a node's configuration file.
var Divergent = divergent
