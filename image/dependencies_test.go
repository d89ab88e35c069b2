package image

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

func TestRequirements(t *testing.T) {
	for text, want := range map[string]string{ // "" is good, "-" good and nothing to install
		"":                             "-",
		"# nothing\n\n  # at all\n":    "-",
		"--pre\n":                      "-",
		"six":                          "",
		"six==1.17.0 # the newest\r\n": "",
		"requests[socks, use_chardet] >= 2.8.1, == 2.8.* ; python_version < '4'\nattrs~=24.1": "",
		"six (>=1.0)": "",
		"six==1.17.0 \\\n    --hash=sha256:4721f391 \\\n    --hash=sha256:ff70335d\n": "",
		"--require-hashes\nzope.interface==7.2 --hash=sha256:ab":                      "",
		"-e .":                            "is a folder to edit",
		"--editable=./lib":                "is a folder to edit",
		"six\n-r other.txt":               "names another file",
		"-cconstraints.txt":               "names another file",
		"--index-url https://a.example/":  "package indexes are settings of the daemon",
		"-i https://a.example/":           "package indexes are settings of the daemon",
		"--find-links=/root":              "package indexes are settings of the daemon",
		"--no-binary :all:":               "is an option that is not taken from code",
		"./lib":                           "is a path",
		"../../etc/passwd":                "is a path",
		"/root/x.whl":                     "is a path",
		"lib/x.whl":                       "is a path",
		".":                               "is a path",
		"https://a.example/x.whl":         "is a URL",
		"git+https://a.example/x":         "is a URL",
		"six @ https://a.example/six.whl": "is a URL",
		"six@file:///root/x":              "is a URL",
		"file:x":                          "is a URL",
		"six==${VERSION}":                 "uses a variable",
		"six 1.17.0":                      "is no requirement",
		"six==1; rm -rf @ x # y":          "",
		"$(id)":                           "is no requirement",
		"six --global-option=x":           "is no requirement",
	} {
		lists, err := readRequirements(fstest.MapFS{requirementsName: {Data: []byte(text)}})
		switch {
		case want == "" && (err != nil || string(lists[requirementsName]) != text):
			t.Errorf("%q: %v, %v", text, lists, err)
		case want == "-" && (err != nil || lists != nil):
			t.Errorf("%q: %v, %v, want nothing to install", text, lists, err)
		case len(want) > 1 && (thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if lists, err := readRequirements(fstest.MapFS{"app.py": {}}); err != nil || lists != nil {
		t.Errorf("without a file: %v, %v", lists, err)
	}
	if _, err := readRequirements(fstest.MapFS{requirementsName + "/x": {}}); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("a folder: %v", err)
	}
	if _, err := readRequirements(fstest.MapFS{requirementsName: {Data: make([]byte, maxList+1)}}); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("a large file: %v", err)
	}
}

const (
	goodPackage = `{"dependencies": {"a": "^1.2.3", "b": "npm:@c/d@1.x", "e": "latest", "f": ">=1 <2 || 3"}}`
	goodLock    = `{"lockfileVersion": 3, "packages": {"": {}, "node_modules/a": {"resolved": "https://r.example/a.tgz", "integrity": "sha512-x"}, "node_modules/b": {"integrity": "sha512-x"}}}`
)

func TestPackageJSON(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	locked := func(entry string) fstest.MapFS {
		return fstest.MapFS{packageName: file(goodPackage), lockName: file(`{"lockfileVersion": 2, "packages": {"node_modules/x": ` + entry + `}}`)}
	}
	asking := func(version string) fstest.MapFS {
		return fstest.MapFS{packageName: file(fmt.Sprintf(`{"optionalDependencies": {"x": %q}}`, version))}
	}
	for name, c := range map[string]struct {
		code  fstest.MapFS
		lists []string
		want  string
	}{
		"None":       {fstest.MapFS{"index.js": file("")}, nil, ""},
		"NoneAsked":  {fstest.MapFS{packageName: file(`{"type": "module", "devDependencies": {"a": "1"}}`), lockName: file("{")}, nil, ""},
		"Locked":     {fstest.MapFS{packageName: file(goodPackage), lockName: file(goodLock), "node_modules/a/index.js": file("")}, []string{lockName, packageName}, ""},
		"NotLocked":  {fstest.MapFS{packageName: file(goodPackage)}, []string{packageName}, ""},
		"ComeAlong":  {fstest.MapFS{packageName: file(goodPackage), "node_modules/a/index.js": file("")}, nil, ""},
		"NoJSON":     {fstest.MapFS{packageName: file(`{"dependencies": {`)}, nil, "package.json cannot be read"},
		"NoObject":   {fstest.MapFS{packageName: file(`{"dependencies": ["a"]}`)}, nil, "package.json cannot be read"},
		"Workspaces": {fstest.MapFS{packageName: file(`{"workspaces": ["a"], "dependencies": {"a": "1"}}`)}, nil, "workspaces"},
		"Path":       {asking("../x"), nil, "is no version"},
		"File":       {asking("file:x"), nil, "is no version"},
		"Link":       {asking("link:x"), nil, "is no version"},
		"URL":        {asking("https://a.example/x.tgz"), nil, "is no version"},
		"Git":        {asking("git+ssh://git@a.example/x"), nil, "is no version"},
		"Repository": {asking("somebody/x"), nil, "is no version"},
		"AliasOfURL": {asking("npm:x@https://a.example"), nil, "is no version"},
		"LockNoJSON": {fstest.MapFS{packageName: file(goodPackage), lockName: file("{")}, nil, "package-lock.json cannot be read"},
		"OldLock":    {fstest.MapFS{packageName: file(goodPackage), lockName: file(`{"lockfileVersion": 1}`)}, nil, "npm 7 or newer"},
		"LockedPath": {locked(`{"resolved": "file:../x", "integrity": "y"}`), nil, "not from a registry"},
		"LockedLink": {locked(`{"resolved": "x", "link": true}`), nil, "not from a registry"},
		"LockedGit":  {locked(`{"resolved": "git+ssh://git@a.example/x"}`), nil, "not from a registry"},
		"NoHash":     {locked(`{"resolved": "https://a.example/x.tgz"}`), nil, "no integrity"},
		"Bundled":    {locked(`{"inBundle": true}`), []string{lockName, packageName}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := findDependencies(c.code, thaw.Settings{Runtime: thaw.RuntimeNode})
			if c.want != "" {
				if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			var names []string
			for name := range d.lists {
				names = append(names, name)
			}
			slices.Sort(names)
			if err != nil || !slices.Equal(names, c.lists) {
				t.Errorf("%q, %v, want %q", names, err, c.lists)
			}
		})
	}
}

func TestDependenciesOfOthers(t *testing.T) {
	code := fstest.MapFS{requirementsName: {Data: []byte("-e .")}, packageName: {Data: []byte("{")}}
	if d, err := findDependencies(code, thaw.Settings{Runtime: thaw.RuntimeProvided}); err != nil || len(d.lists) > 0 {
		t.Errorf("provided: %+v, %v", d, err)
	}
}

func TestInstallKeys(t *testing.T) {
	plan := treePlan{runtime: thaw.RuntimePython, codename: "bookworm"}
	d := wanted{runtime: thaw.RuntimePython, lists: map[string][]byte{requirementsName: []byte("six")}}
	other, trusting := d, d
	other.lists = map[string][]byte{requirementsName: []byte("six==1")}
	trusting.scripts = true
	newer := treePlan{runtime: thaw.RuntimePython, codename: "trixie"}
	keys := []string{d.key(plan), other.key(plan), trusting.key(plan), d.key(newer)}
	slices.Sort(keys)
	if len(slices.Compact(keys)) != 4 {
		t.Errorf("keys %q", keys)
	}
}

func TestInstallScripts(t *testing.T) {
	for name, c := range map[string]struct {
		d         wanted
		has, lack string
	}{
		"Pip":        {wanted{runtime: thaw.RuntimePython, lists: map[string][]byte{requirementsName: []byte("six")}}, "--only-binary=:all:", "--require-hashes"},
		"PipHashes":  {wanted{runtime: thaw.RuntimePython, lists: map[string][]byte{requirementsName: []byte("six==1 --hash=sha256:a")}}, "--require-hashes", "six"},
		"PipScripts": {wanted{runtime: thaw.RuntimePython, scripts: true}, "pip install", "--only-binary"},
		"Npm":        {wanted{runtime: thaw.RuntimeNode}, "npm install --omit=dev --no-audit --no-fund --no-update-notifier --loglevel=error --ignore-scripts", "ci"},
		"NpmLocked":  {wanted{runtime: thaw.RuntimeNode, lists: map[string][]byte{lockName: []byte("{}")}}, "npm ci ", "install"},
		"NpmScripts": {wanted{runtime: thaw.RuntimeNode, scripts: true}, "npm install", "--ignore-scripts"},
	} {
		words := strings.Fields(c.d.script())
		if s := c.d.script(); !strings.Contains(s, c.has) || slices.Contains(words, c.lack) {
			t.Errorf("%s: %q has not %q, or has %q", name, s, c.has, c.lack)
		}
	}
	if sandboxID != fmt.Sprint(SandboxID) {
		t.Errorf("the tool runs as %s", sandboxID)
	}
}

func TestRegistrySettings(t *testing.T) {
	dir := t.TempDir()
	cert := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(cert, []byte("a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"/etc/pip.conf":                "[global]\nindex-url = https://a.example/simple\ncert: " + cert + "\ntarget = /x\n[list]\nindex-url = no\n[install]\nextra-index-url =\n    https://b.example\n    https://c.example\nuser = yes\n",
		"/home/u/.config/pip/pip.conf": "; a comment\n[global]\ntimeout = 7\nindex-url = https://weaker.example\n",
		"/etc/npmrc":                   "registry=https://r.example/\ncafile = \"" + cert + "\"\nprefix = /usr\n",
		"/home/u/.npmrc":               "//r.example/:_authToken=${TOKEN}\n@a:registry = https://s.example\nscript-shell=/bin/evil\nca[]=\"-----\"\n",
	}
	environ := []string{
		"HOME=/home/u", "TOKEN=secret", "PIP_INDEX_URL=https://strongest.example", "https_proxy=http://p.example:1", "NO_PROXY=x", "PIP_TARGET=/y", "PIP_USER=1",
		"NPM_CONFIG_REGISTRY=https://t.example", "npm_config_prefix=/z", "NPM_CONFIG_IGNORE_SCRIPTS=false", "AWS_SECRET_ACCESS_KEY=k", "NODE_OPTIONS=--require=/x", "NODE_EXTRA_CA_CERTS=/none",
	}
	got := registrySettings(environ, func(path string) string { return files[path] })
	want := registries{
		env: []string{
			"NODE_EXTRA_CA_CERTS=/none", "NO_PROXY=x", "NPM_CONFIG_REGISTRY=https://t.example", "PIP_CERT=" + cert,
			"PIP_EXTRA_INDEX_URL=https://b.example https://c.example", "PIP_INDEX_URL=https://strongest.example", "PIP_TIMEOUT=7", "https_proxy=http://p.example:1",
		},
		npmrc: "registry = https://r.example/\ncafile = \"" + cert + "\"\n//r.example/:_authToken = secret\n@a:registry = https://s.example\nca[] = \"-----\"\n",
		files: []string{cert},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(registries{})); d != "" {
		t.Error(d)
	}
}

func TestPruneDependencies(t *testing.T) {
	s := &Store{dir: t.TempDir()}
	for i, name := range []string{"oldest", "middle", "newest"} {
		path := s.path(kindDependencies, key(name))
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		used := time.Unix(int64(1000*i), 0)
		if err := f.Truncate(keptDependencies/2 - 1); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
	}
	freed, err := s.Prune(func(string) bool { return false })
	if err != nil || freed != keptDependencies/2-1 {
		t.Errorf("%d bytes freed, %v", freed, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(left) != 2 || slices.Contains(left, s.path(kindDependencies, key("oldest"))) {
		t.Errorf("left: %q", left)
	}
}

// TestCompleteCode: what comes in an archive brings what it needs.
func TestCompleteCode(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, requirementsName), []byte("./lib"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s := &Store{}
	if err := s.addDependencies(t.Context(), &unpacker{root: root}, thaw.Settings{Runtime: thaw.RuntimePython}, nil); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("code that asks for a path: %v", err)
	}
	complete := thaw.Settings{Runtime: thaw.RuntimePython, Lambda: &thaw.LambdaInfo{CodeSHA256: "x"}}
	if err := s.addDependencies(t.Context(), &unpacker{root: root}, complete, nil); err != nil {
		t.Errorf("the same as an archive: %v", err)
	}
}
