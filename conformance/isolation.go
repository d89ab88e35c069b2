package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"thaw"
	"thaw/conformance/probe"
)

// checkCold wants every start to be a restore by the policy that was asked for: one
// that boots instead would pass every other test.
func checkCold(o observed) finding {
	var f finding
	clones := append(o.clones(), o.first)
	for _, c := range clones {
		switch {
		case c.record.Start != thaw.StartCold:
			f.wrong(c, "it was a %s: %s", c.record.Start, c.record.Reason)
		case c.policy != thaw.PolicyAuto && c.record.Policy != c.policy:
			f.wrong(c, "it was restored by %s: %s", c.record.Policy, c.record.Reason)
		}
	}
	f.seen = fmt.Sprintf("%d of %d starts were restores", len(clones), len(clones))
	return f
}

// checkOnce counts what the function sees of snapshot and restore: the hooks of
// Python and Node.js, the return of restore/next elsewhere.
func checkOnce(o observed) finding {
	var f finding
	clones := o.clones()
	for _, c := range clones {
		f.once(c)
	}
	for _, g := range o.groups {
		for _, c := range g.again {
			if _, ok := g.before(c); !ok {
				f.wrong(c, "an invocation after the others was given to another instance: is something else using the function?")
			}
			f.once(c)
		}
	}
	f.seen = fmt.Sprintf("%d clones: before hooks once for all, after hooks once in each, and not again", len(clones))
	return f
}

func (f *finding) once(c clone) {
	want := 0
	if c.runtime == thaw.RuntimePython || c.runtime == thaw.RuntimeNode {
		want = 1
	}
	if c.report.Before != want || c.report.After != 1 {
		f.wrong(c, "%d calls before the snapshot and %d after the restore, want %d and 1", c.report.Before, c.report.After, want)
	}
}

func checkNetwork(o observed) finding {
	var f finding
	clones := o.clones()
	for _, c := range clones {
		if !slices.Equal(c.report.Interfaces, []string{"lo"}) {
			f.wrong(c, "its network interfaces are %q, want lo only", c.report.Interfaces)
		}
		if !strings.EqualFold(c.report.Reach, "network is unreachable") {
			f.wrong(c, "sending to an address outside: %s", c.report.Reach)
		}
	}
	f.seen = fmt.Sprintf("%d clones: there is no network, only lo; nothing outside is reachable", len(clones))
	return f
}

// checkConnections wants no connection to lead out of the guest, and one within it
// to have come through the restore.
func checkConnections(o observed) finding {
	var f finding
	n := 0
	clones := o.clones()
	for _, c := range clones {
		for _, conn := range c.report.Connections {
			if n++; !inside(conn.Remote) {
				f.wrong(c, "a %s connection leads to %s", conn.Kind, conn.Remote)
			}
		}
		if c.report.Echo != c.event.Token {
			f.wrong(c, "a connection within the guest gave %q instead of %q", c.report.Echo, c.event.Token)
		}
	}
	f.seen = fmt.Sprintf("%d clones: %d sockets, none leads out of its guest; one within it works on", len(clones), n)
	return f
}

// inside says that an address of /proc/net/tcp is none, as of a listener, or one
// of this machine. It holds the bytes of each 32 bits in reverse.
func inside(address string) bool {
	host, _, _ := strings.Cut(address, ":")
	return strings.Trim(host, "0") == "" || len(host) == 8 && strings.HasSuffix(host, "7F") ||
		host == "00000000000000000000000001000000" || strings.HasPrefix(host, "0000000000000000FFFF0000") && strings.HasSuffix(host, "7F")
}

// checkMemory wants each clone to find memory as it was before the snapshot, and
// what it wrote itself after all the others have written as well.
func checkMemory(o observed) finding {
	return checkWrites(o, "memory", func(w probe.Writes) string { return w.Memory })
}

func checkTmp(o observed) finding {
	f := checkWrites(o, "the file", func(w probe.Writes) string { return w.Files[probe.MarkFile] })
	for _, c := range o.clones() {
		if len(c.report.Found.Files) != 1 || len(c.report.Left.Files) != 1 {
			f.wrong(c, "/tmp held %q, later %q, want one file", c.report.Found.Files, c.report.Left.Files)
		}
	}
	return f
}

func checkWrites(o observed, what string, part func(probe.Writes) string) finding {
	var f finding
	clones := o.clones()
	for _, c := range clones {
		f.wrote(c, what, part, probe.Pattern)
	}
	for _, g := range o.groups {
		for _, c := range g.again {
			if before, ok := g.before(c); ok {
				f.wrote(c, what, part, before.event.Token)
			}
		}
		if !together(g.clones) || !together(g.again) {
			f.wrong(g.clones[0], "some had ended before all had written: this machine is too busy to tell")
		}
	}
	f.seen = fmt.Sprintf("%d clones, up to %d at the same time: each finds what was before the snapshot, then its own", len(clones), largest(o.groups))
	return f
}

func (f *finding) wrote(c clone, what string, part func(probe.Writes) string, before string) {
	found, left := part(c.report.Found), part(c.report.Left)
	if found != before || left != c.event.Token {
		f.wrong(c, "%s held %q, want %q; then %q, want %q", what, found, before, left, c.event.Token)
	}
}

// together says that all of clones had written before one of them read again, by
// their clocks, which another test checks.
func together(clones []clone) bool {
	for _, a := range clones {
		for _, b := range clones {
			if a.report.Served.WallNS >= b.report.Ended.WallNS {
				return false
			}
		}
	}
	return true
}

func largest(groups []group) (n int) {
	for _, g := range groups {
		n = max(n, len(g.clones))
	}
	return n
}

// checkEnvironment wants each clone to have the environment of its own version, and
// nothing that it says to hold the secret of another one.
func checkEnvironment(o observed) finding {
	var f finding
	clones := append(o.clones(), o.first)
	for _, c := range clones {
		own := o.secrets[c.version()]
		if got := c.report.Environ[probe.SecretEnv]; got != own || own == "" {
			f.wrong(c, "version %d has the secret %q, want %q", c.record.Version, got, own)
		}
		if got, want := c.report.Environ["AWS_LAMBDA_FUNCTION_VERSION"], strconv.Itoa(c.record.Version); got != want {
			f.wrong(c, "it takes itself for version %s, not %s", got, want)
		}
		for other, secret := range o.secrets {
			if other != c.version() && strings.Contains(c.payload, secret) {
				f.wrong(c, "version %d knows the secret of version %d of %s", c.record.Version, other.number, other.runtime)
			}
		}
	}
	f.seen = fmt.Sprintf("%d clones of %d versions: each knows its own secret only", len(clones), len(o.secrets))
	return f
}
