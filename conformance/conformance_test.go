package conformance

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/conformance/probe"
)

// good is what is seen of correct clones: two versions of the first runtime, one of
// the others, a group of each runtime.
func good() observed {
	o := observed{secrets: map[version]string{
		{thaw.RuntimePython, 1}: "old secret", {thaw.RuntimePython, 2}: "new secret", {thaw.RuntimeNode, 1}: "another", {thaw.RuntimeProvided, 1}: "a fourth",
	}}
	o.given = maps.Clone(o.secrets)
	o.searched = []string{"memory", "state"}
	o.first = goodClone(thaw.RuntimePython, 1, 0, o.secrets)
	for i, r := range Runtimes() {
		n := max(1, 2-i) // python has two versions
		var g group
		for j := range 2 {
			c := goodClone(r, n, 1+2*i+j, o.secrets)
			again := goodClone(r, n, 1+2*i+j, o.secrets)
			later(&again, 2*time.Second)
			again.report.Born, again.report.Restored = c.report.Born, c.report.Restored
			again.event.Token = fmt.Sprintf("second%026d", 1+2*i+j)
			again.report.Echo = again.event.Token
			again.report.Found, again.report.Left = c.report.Left, writes(again.event.Token)
			g.clones, g.again = append(g.clones, c), append(g.again, again)
		}
		o.groups = append(o.groups, g)
	}
	return o
}

func writes(s string) probe.Writes {
	return probe.Writes{Memory: s, Files: map[string]string{probe.MarkFile: s}}
}

const (
	second = int64(time.Second)
	began  = 1_700_000_000 * second // when clones are asked for
)

func goodClone(r thaw.Runtime, number, n int, secrets map[version]string) clone {
	instance, token := fmt.Sprintf("i-%d", n), fmt.Sprintf("token%027d", n)
	own := probe.Identity{Instance: instance, Hostname: instance, Machine: fmt.Sprintf("%032x", n+1), Boot: fmt.Sprintf("00000000-0000-4000-8000-%012x", n+1)}
	before := probe.Identity{Instance: "i-born", Hostname: "i-born", Machine: strings.Repeat("f", 32), Boot: "ffffffff-ffff-4fff-8fff-ffffffffffff"}
	moment := func(after int64, i probe.Identity) probe.Moment {
		return probe.Moment{WallNS: began + after, MonoNS: 100*second + after, Identity: i}
	}
	c := clone{
		runtime: r, policy: thaw.PolicyThaw, event: probe.Event{Token: token, NapMS: 100, HoldMS: 500},
		record: thaw.Invocation{
			Instance: instance, Version: number, Start: thaw.StartCold, Policy: thaw.PolicyThaw, Time: time.Unix(0, began),
			Spans: []thaw.Span{{Phase: thaw.PhaseResume, StartUS: 90_000, DurationUS: 10_000}, {Phase: thaw.PhaseInvoke, StartUS: 100_000, DurationUS: 730_000}},
		},
		report: probe.Report{
			Born: moment(-3600*second, before), Restored: moment(105_000_000, own), Served: moment(115_000_000, own), Ended: moment(815_000_000, own),
			After: 1, Nap: probe.Nap{MonoNS: 101_000_000, WallNS: 101_000_000},
			Drawn:       map[string]string{"getrandom": token + "a", "/dev/urandom": token + "b", "random": token + "c"},
			DrawnBefore: map[string]string{"getrandom": "a", "/dev/urandom": "b", "random": "c"},
			Found:       writes(probe.Pattern), Left: writes(token), Echo: token,
			Environ:    map[string]string{probe.SecretEnv: secrets[version{r, number}], "AWS_LAMBDA_FUNCTION_VERSION": fmt.Sprint(number)},
			Secret:     secrets[version{r, number}],
			Interfaces: []string{"lo"}, Reach: "network is unreachable",
			Connections: []probe.Connection{
				{Kind: "tcp", Local: "0100007F:2329", Remote: "00000000:0000"}, {Kind: "tcp", Local: "0100007F:8000", Remote: "0100007F:2329"},
				{Kind: "tcp6", Local: "0000000000000000FFFF00000100007F:1", Remote: "0000000000000000FFFF00000100007F:2"},
			},
		},
	}
	if r != thaw.RuntimeProvided {
		c.report.Before = 1
	}
	c.payload = fmt.Sprint(c.report)
	return c
}

// later moves an invocation.
func later(c *clone, by time.Duration) {
	c.record.Time = c.record.Time.Add(by)
	c.record.Start = thaw.StartWarm
	for _, m := range []*probe.Moment{&c.report.Served, &c.report.Ended} {
		m.WallNS, m.MonoNS = m.WallNS+int64(by), m.MonoNS+int64(by)
	}
}

func all() []test { return Options{Runtimes: Runtimes()}.tests() }

func TestGoodClonesPass(t *testing.T) {
	results := judge(good(), all())
	if len(results) != len(TestNames()) {
		t.Errorf("%d results of %d tests", len(results), len(TestNames()))
	}
	for _, r := range results {
		if r.Result != Pass || r.Seen == "" || r.Hazard == "" {
			t.Errorf("%+v", r)
		}
	}
	if err := (Report{Results: results}).Failed(); err != nil {
		t.Error(err)
	}
}

// TestEachTestFails breaks one thing of one clone at a time.
func TestEachTestFails(t *testing.T) {
	type changes map[string]func(o *observed, c, other *clone)
	shift := func(c *clone, by time.Duration) {
		for _, m := range []*probe.Moment{&c.report.Restored, &c.report.Served, &c.report.Ended} {
			m.WallNS += int64(by)
		}
	}
	broken := map[string]changes{
		"restore-cold": {
			"boot":   func(_ *observed, c, _ *clone) { c.record.Start, c.record.Reason = thaw.StartBoot, "no snapshot" },
			"policy": func(_ *observed, c, _ *clone) { c.record.Policy = thaw.PolicyVanilla },
		},
		"restore-once": {
			"never":    func(_ *observed, c, _ *clone) { c.report.After = 0 },
			"twice":    func(_ *observed, c, _ *clone) { c.report.After = 2 },
			"before":   func(_ *observed, c, _ *clone) { c.report.Before = 2 },
			"again":    func(o *observed, _, _ *clone) { o.groups[0].again[0].report.After = 2 },
			"stranger": func(o *observed, _, _ *clone) { o.groups[1].again[0].record.Instance = "i-other" },
		},
		"clock-wall": {
			"late": func(o *observed, c, _ *clone) { shift(c, -time.Minute); shift(&o.groups[0].again[0], -time.Minute) },
			"a little ahead": func(o *observed, c, _ *clone) {
				shift(c, 60*time.Millisecond)
				shift(&o.groups[0].again[0], 60*time.Millisecond)
			},
			"not yet": func(_ *observed, c, _ *clone) { c.report.Restored.WallNS -= 200_000_000 },
			"no time": func(o *observed, c, _ *clone) { c.record.Spans, o.groups[0].again[0].record.Spans = nil, nil },
		},
		"clock-monotonic": {
			"restore": func(_ *observed, c, _ *clone) { c.report.Restored.MonoNS = c.report.Born.MonoNS - 1 },
			"within":  func(_ *observed, c, _ *clone) { c.report.Backward = 1 },
			"next":    func(o *observed, _, _ *clone) { o.groups[0].again[0].report.Served.MonoNS = 100 * second },
		},
		"clock-timers": {
			"short":  func(_ *observed, c, _ *clone) { c.report.Nap = probe.Nap{MonoNS: 99_000_000, WallNS: 99_000_000} },
			"apart":  func(_ *observed, c, _ *clone) { c.report.Nap.WallNS = 200_000_000 },
			"host":   func(_ *observed, c, _ *clone) { c.record.Spans[1].DurationUS = 500_000 },
			"faster": func(_ *observed, c, _ *clone) { c.report.Ended.MonoNS += second },
		},
		"entropy-kernel": {
			"twice": func(_ *observed, c, other *clone) { c.report.Drawn["getrandom"] = other.report.Drawn["getrandom"] },
			"born":  func(_ *observed, c, _ *clone) { c.report.Drawn["/dev/urandom"] = c.report.DrawnBefore["/dev/urandom"] },
		},
		"entropy-python": {
			"twice": func(_ *observed, c, other *clone) { c.report.Drawn["random"] = other.report.Drawn["random"] },
			"empty": func(_ *observed, c, _ *clone) { c.report.Drawn["random"] = "" },
		},
		"entropy-node": {
			"twice": func(o *observed, _, _ *clone) { sameRandom(o.groups[1]) },
			"born":  func(o *observed, _, _ *clone) { o.groups[1].clones[0].report.Drawn["random"] = "c" },
		},
		"entropy-go": {
			"twice":   func(o *observed, _, _ *clone) { sameRandom(o.groups[2]) },
			"nothing": func(o *observed, _, _ *clone) { o.groups[2].clones[0].report.Drawn = nil },
		},
		"identity-generation": {
			"wrong": func(_ *observed, c, _ *clone) { setIdentity(c, func(i *probe.Identity) { i.Instance = "i-x" }) },
			"late":  func(_ *observed, c, _ *clone) { c.report.Restored.Instance = "i-born" },
		},
		"identity-hostname": {"wrong": func(_ *observed, c, _ *clone) { setIdentity(c, func(i *probe.Identity) { i.Hostname = "localhost" }) }},
		"identity-machine": {
			"shared": func(_ *observed, c, other *clone) {
				setIdentity(c, func(i *probe.Identity) { i.Machine = other.report.Served.Machine })
			},
			"none": func(_ *observed, c, _ *clone) { setIdentity(c, func(i *probe.Identity) { i.Machine = "" }) },
		},
		"identity-boot": {"born": func(_ *observed, c, _ *clone) {
			setIdentity(c, func(i *probe.Identity) { i.Boot = c.report.Born.Boot })
		}},
		"network-none": {
			"device":  func(_ *observed, c, _ *clone) { c.report.Interfaces = []string{"eth0", "lo"} },
			"reached": func(_ *observed, c, _ *clone) { c.report.Reach = "reached" },
		},
		"network-stale": {
			"outside": func(_ *observed, c, _ *clone) { c.report.Connections[0].Remote = "0200000A:01BB" },
			"broken":  func(_ *observed, c, _ *clone) { c.report.Echo = "" },
		},
		"writes-memory": {
			"found": func(_ *observed, c, other *clone) { c.report.Found.Memory = other.event.Token },
			"left":  func(_ *observed, c, other *clone) { c.report.Left.Memory = other.event.Token },
		},
		"writes-tmp": {
			"left": func(_ *observed, c, other *clone) { c.report.Left.Files = maps.Clone(other.report.Left.Files) },
			"more": func(_ *observed, c, _ *clone) { c.report.Found.Files["other"] = "x" },
		},
		"env-version": {
			"old":   func(_ *observed, c, _ *clone) { c.report.Environ[probe.SecretEnv] = "old secret" },
			"trace": func(_ *observed, c, _ *clone) { c.payload += "old secret" },
			"self":  func(_ *observed, c, _ *clone) { c.report.Environ["AWS_LAMBDA_FUNCTION_VERSION"] = "1" },
		},
		"secrets-current": {
			"old":  func(_ *observed, c, _ *clone) { c.report.Secret = "old secret" },
			"none": func(_ *observed, c, _ *clone) { c.report.Secret = "" },
		},
		"secrets-snapshot": {
			"leaked":   func(o *observed, _, _ *clone) { o.leaked = []string{"memory"} },
			"unlooked": func(o *observed, _, _ *clone) { o.searched = nil },
		},
	}
	for _, name := range TestNames() {
		if len(broken[name]) == 0 {
			t.Errorf("nothing shows that %s can fail", name)
		}
		for what, change := range broken[name] {
			t.Run(name+"/"+what, func(t *testing.T) {
				o := good()
				change(&o, &o.groups[0].clones[0], &o.groups[0].clones[1])
				if failed := failures(o); !slices.Contains(failed, name) {
					t.Errorf("not seen; failed: %q", failed)
				}
			})
		}
	}
}

// sameRandom gives two clones the same number.
func sameRandom(g group) {
	g.clones[0].report.Drawn["random"] = g.clones[1].report.Drawn["random"]
}

func setIdentity(c *clone, change func(*probe.Identity)) {
	for _, m := range []*probe.Moment{&c.report.Restored, &c.report.Served, &c.report.Ended} {
		change(&m.Identity)
	}
}

func failures(o observed) (names []string) {
	for _, r := range judge(o, all()) {
		if r.Result == Fail {
			names = append(names, r.Test)
		}
	}
	return names
}

func TestApartIsNoProof(t *testing.T) {
	o := good()
	later(&o.groups[0].clones[0], time.Second)
	o.groups[0].clones[0].record.Start = thaw.StartCold
	o.groups[0].clones[0].report.Restored.WallNS += second
	if failed := failures(o); !slices.Contains(failed, "writes-memory") || !slices.Contains(failed, "writes-tmp") {
		t.Errorf("clones one after the other show nothing, failed: %q", failed)
	}
}

func TestFailedNames(t *testing.T) {
	err := (Report{Results: []Result{{Test: "a", Result: Pass}, {Test: "b", Result: Fail}}}).Failed()
	if thaw.CodeOf(err) != thaw.CodeFunction || !strings.Contains(err.Error(), `1 of 2 conformance tests failed: ["b"]`) {
		t.Error(err)
	}
}

func TestInside(t *testing.T) {
	for address, want := range map[string]bool{
		"00000000:0000": true, "0100007F:1F90": true, "FF01007F:1": true, "00000000000000000000000001000000:50": true,
		"0000000000000000FFFF00000100007F:50": true, "00000000000000000000000000000000:0": true,
		"0200000A:01BB": false, "B80D0120000000000000000001000000:50": false, "0000000000000000FFFF00000200000A:50": false,
	} {
		if got := inside(address); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// row is one of the table in the document: hazard, why, what, test.
var row = regexp.MustCompile("(?m)^\\| ([^|]+) \\| [^|]+ \\| [^|]+ \\| `([^`|]+)` \\|$")

// TestDocument holds the table in docs/conformance.md against the tests there are.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, r := range row.FindAllStringSubmatch(string(b), -1) {
		documented[r[2]] = r[1]
	}
	for _, test := range tests() {
		if documented[test.name] != test.hazard {
			t.Errorf("%s: the document says %q, the suite %q", test.name, documented[test.name], test.hazard)
		}
		delete(documented, test.name)
	}
	for name := range documented {
		checkGoTest(t, name)
	}
}

// checkGoTest wants a test that is not of the suite to be there.
func checkGoTest(t *testing.T, command string) {
	t.Helper()
	m := regexp.MustCompile(`^go test \./([a-z0-9/]+) -run (Test\w+)$`).FindStringSubmatch(command)
	if m == nil {
		t.Errorf("no test of the suite is called %s", command)
		return
	}
	files, err := os.ReadDir("../" + m[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile("../" + m[1] + "/" + f.Name()); err == nil && strings.Contains(string(b), "func "+m[2]+"(") {
			return
		}
	}
	t.Errorf("%s: there is no such test", command)
}
