package conformance

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"thaw"
	"thaw/conformance/probe"
)

// unique notes every value that another clone has as well, or that is from before
// the snapshot. values are those of a clone by what they are; from is the same of
// what it had before.
func (f *finding) unique(clones []clone, values, from func(clone) map[string]string) {
	owner := map[string]clone{}
	for _, c := range clones {
		now, before := values(c), from(c)
		for _, what := range slices.Sorted(maps.Keys(now)) {
			value := now[what]
			other, twice := owner[value]
			switch {
			case value == "":
				f.wrong(c, "%s is empty", what)
			case value == before[what]:
				f.wrong(c, "%s is %s, as before the snapshot", what, value)
			case twice:
				f.wrong(c, "%s is %s, as in instance %s", what, value, other.record.Instance)
			}
			owner[value] = c
		}
	}
}

func drawnBefore(c clone) map[string]string { return c.report.DrawnBefore }

// drawn returns what a clone drew of the kernel and of nothing else, or what it drew
// in any other way.
func drawn(ofKernel bool) func(clone) map[string]string {
	return func(c clone) map[string]string {
		values := maps.Clone(c.report.Drawn)
		maps.DeleteFunc(values, func(source, _ string) bool {
			return ofKernel != (source == "getrandom" || source == "/dev/urandom")
		})
		return values
	}
}

func checkKernelEntropy(o observed) finding { return checkEntropy(o.clones(), drawn(true)) }

func checkPythonEntropy(o observed) finding {
	return checkEntropy(of(thaw.RuntimePython, o.clones()), drawn(false))
}

func checkNodeEntropy(o observed) finding {
	return checkEntropy(of(thaw.RuntimeNode, o.clones()), drawn(false))
}

func checkEntropy(clones []clone, drawn func(clone) map[string]string) finding {
	var f finding
	f.unique(clones, drawn, drawnBefore)
	names := map[string]bool{}
	for _, c := range clones {
		values := drawn(c)
		if len(values) == 0 {
			f.wrong(c, "nothing was drawn")
		}
		for name := range values {
			names[name] = true
		}
	}
	f.seen = fmt.Sprintf("%d clones differ by %s", len(clones), strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	return f
}

// checkGoEntropy also tells what the Go runtime's own generator does, which thaw
// cannot seed again: a function has to take the way that is checked here.
func checkGoEntropy(o observed) finding {
	clones := of(thaw.RuntimeProvided, o.clones())
	f := checkEntropy(clones, drawn(false))
	var inherited finding
	none := func(clone) map[string]string { return nil }
	inherited.unique(clones, func(c clone) map[string]string { return c.report.Inherited }, none)
	if n := len(inherited.failures); n > 0 {
		f.seen += fmt.Sprintf("; known limit: math/rand/v2 without a seed of its own repeats in %d", n)
	}
	return f
}

// checkGeneration wants the id in /run/thaw/instance-id to be the daemon's id of
// this instance, at the time the runtime learns of the restore already, and
// another one before the snapshot.
func checkGeneration(o observed) finding {
	f := checkIdentity(o, "generation id", func(i probe.Identity) string { return i.Instance }, "")
	for _, c := range o.clones() {
		if c.report.Served.Instance != c.record.Instance {
			f.wrong(c, "it reads %s", c.report.Served.Instance)
		}
	}
	return f
}

func checkHostname(o observed) finding {
	f := checkIdentity(o, "hostname", func(i probe.Identity) string { return i.Hostname }, "")
	for _, c := range o.clones() {
		if c.report.Served.Hostname != c.record.Instance {
			f.wrong(c, "its hostname is %s", c.report.Served.Hostname)
		}
	}
	return f
}

func checkMachine(o observed) finding {
	return checkIdentity(o, "machine id", func(i probe.Identity) string { return i.Machine }, `^[0-9a-f]{32}$`)
}

func checkBoot(o observed) finding {
	return checkIdentity(o, "boot id", func(i probe.Identity) string { return i.Boot }, `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
}

// checkIdentity wants what part returns to be of that form, to differ in every
// clone and from before the snapshot, and to be the same from the restore on.
func checkIdentity(o observed, what string, part func(probe.Identity) string, form string) finding {
	var f finding
	clones := o.clones()
	f.unique(clones, func(c clone) map[string]string { return map[string]string{what: part(c.report.Served.Identity)} },
		func(c clone) map[string]string { return map[string]string{what: part(c.report.Born.Identity)} })
	rule := regexp.MustCompile(form)
	for _, c := range clones {
		restored, served, ended := part(c.report.Restored.Identity), part(c.report.Served.Identity), part(c.report.Ended.Identity)
		if restored != served || served != ended {
			f.wrong(c, "%s was %s at the restore, %s and %s later", what, restored, served, ended)
		}
		if !rule.MatchString(served) {
			f.wrong(c, "%s %q has not the form of one", what, served)
		}
	}
	f.seen = fmt.Sprintf("%d clones: all differ, and from the one before the snapshot", len(clones))
	return f
}
