package conformance

import "thaw"

// test checks one hazard.
type test struct {
	name   string // stable: part of the interface
	hazard string
	// runtime is the only one it is for, "" for every.
	runtime thaw.Runtime
	check   func(observed) finding
}

// suits says that t looks at clones of runtime r.
func (t test) suits(r thaw.Runtime) bool { return t.runtime == "" || t.runtime == r }

// tests are all there are, in the order of the report.
func tests() []test {
	return []test{
		{name: "restore-cold", hazard: "clones come from the snapshot", check: checkCold},
		{name: "restore-once", hazard: "one restore, seen once", check: checkOnce},
		{name: "clock-wall", hazard: "wall clock", check: checkWall},
		{name: "clock-monotonic", hazard: "monotonic clock", check: checkMonotonic},
		{name: "clock-timers", hazard: "timers", check: checkTimers},
		{name: "entropy-kernel", hazard: "kernel's random numbers", check: checkKernelEntropy},
		{name: "entropy-python", hazard: "Python's random numbers", runtime: thaw.RuntimePython, check: checkPythonEntropy},
		{name: "entropy-node", hazard: "Node.js's random numbers", runtime: thaw.RuntimeNode, check: checkNodeEntropy},
		{name: "entropy-go", hazard: "Go's random numbers", runtime: thaw.RuntimeProvided, check: checkGoEntropy},
		{name: "identity-generation", hazard: "generation id", check: checkGeneration},
		{name: "identity-hostname", hazard: "hostname", check: checkHostname},
		{name: "identity-machine", hazard: "machine id", check: checkMachine},
		{name: "identity-boot", hazard: "boot id", check: checkBoot},
		{name: "network-none", hazard: "MAC and IP addresses", check: checkNetwork},
		{name: "network-stale", hazard: "stale connections", check: checkConnections},
		{name: "writes-memory", hazard: "writes to memory", check: checkMemory},
		{name: "writes-tmp", hazard: "writes to /tmp", check: checkTmp},
		{name: "env-version", hazard: "environment of another version", check: checkEnvironment},
		{name: "secrets-current", hazard: "secrets that have changed", check: checkSecrets},
		{name: "secrets-snapshot", hazard: "secrets in a snapshot", check: checkLeaks},
	}
}

// TestNames are the names of all tests.
func TestNames() (names []string) {
	for _, t := range tests() {
		names = append(names, t.name)
	}
	return names
}
