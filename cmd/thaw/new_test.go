package main

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"thaw"
	"thaw/project"
)

// TestTemplatesSayNothingWrong takes the examples in each thaw.yaml at their word.
func TestTemplatesSayNothingWrong(t *testing.T) {
	commented := regexp.MustCompile(`(?m)^# ( *- |  +[a-z_]+:|[a-z_]+: )`)
	all, err := fs.Glob(templates, "template/*/thaw.yaml.tmpl")
	if err != nil || len(all) != len(thaw.Runtimes())+1 {
		t.Fatalf("%d templates for %d runtimes, one of them in two languages: %v", len(all), len(thaw.Runtimes()), err)
	}
	for _, name := range all {
		text, err := fs.ReadFile(templates, name)
		if err != nil {
			t.Fatal(err)
		}
		whole := strings.ReplaceAll(commented.ReplaceAllString(string(text), "$1"), "{{name}}", "hello")
		p, err := project.Parse(name, []byte(whole))
		if err != nil {
			t.Errorf("%v in\n%s", err, whole)
		}
		if p.Settings.Policy != thaw.PolicyThaw || len(p.Schedules) != 1 || len(p.Settings.Secrets) != 1 {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestPythonTemplate calls the handler of the function that `thaw new` writes.
func TestPythonTemplate(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: apt-get install python3")
	}
	t.Chdir(t.TempDir())
	if _, err := writeTemplate("hello", "python3"); err != nil {
		t.Fatal(err)
	}
	const script = "import sys, json; sys.path.insert(0, 'hello'); import app; print(json.dumps([app.handler({'name': 'Ada'}, None), app.handler(3, None)]))"
	cmd := exec.CommandContext(t.Context(), python, "-B", "-c", script)
	out, err := cmd.Output()
	if want := `[{"message": "Hello, Ada!"}, {"message": "Hello, world!"}]`; err != nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
	if err := checkCode("hello", thaw.Settings{}.WithDefaults()); err != nil {
		t.Error(err)
	}
}

func TestTemplateOf(t *testing.T) {
	for _, tt := range []struct {
		runtime        thaw.Runtime
		language, want string
	}{
		{"python3", "", "python3"}, {"provided", "", "provided"}, {"provided", "go", "provided"}, {"provided", "shell", "provided-shell"},
		{"cobol", "", `unknown runtime "cobol": choose python3`}, {"provided", "cobol", "choose go or shell"}, {"node", "go", "add --runtime provided"},
	} {
		got, err := templateOf(tt.runtime, tt.language)
		if got != tt.want && !(thaw.CodeOf(err) == thaw.CodeInvalid && strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s, %q: %q, %v; want %q", tt.runtime, tt.language, got, err, tt.want)
		}
	}
}

// TestShellTemplate has what `thaw new` writes deployed as it is: the program can be
// executed, and its packages are there to run it.
func TestShellTemplate(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := writeTemplate("job", "provided-shell"); err != nil {
		t.Fatal(err)
	}
	if err := checkCode("job", thaw.Settings{Runtime: thaw.RuntimeProvided, Packages: []string{"curl"}}); err != nil {
		t.Error(err)
	}
	if err := checkCode("job", thaw.Settings{Runtime: thaw.RuntimeProvided}); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), "name Debian packages") {
		t.Errorf("without packages: %v", err)
	}
}

// runtimeAPI serves two events and collects what comes back; the third request
// for an event ends the function, which a VM would do by going away.
type runtimeAPI struct {
	asked   int
	answers []string
}

func (a *runtimeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const next = "/2018-06-01/runtime/invocation/next"
	if r.URL.Path != next {
		body, _ := io.ReadAll(r.Body)
		a.answers = append(a.answers, r.URL.Path[len(next)-len("next"):]+" "+string(body))
		w.WriteHeader(http.StatusAccepted)
		return
	}
	events := []string{`{"name":"Ada"}`, `[]`}
	if a.asked == len(events) {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprintf("r%d", a.asked))
	io.WriteString(w, events[a.asked])
	a.asked++
}

// TestProvidedTemplate builds the function that `thaw new` writes the way its
// comment says, and runs it against a Runtime API.
func TestProvidedTemplate(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program: run without -short")
	}
	t.Chdir(t.TempDir())
	if _, err := writeTemplate("web", "provided"); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "bootstrap", ".")
	build.Dir = "web"
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := checkCode("web", thaw.Settings{Runtime: thaw.RuntimeProvided}); err != nil {
		t.Error(err)
	}
	api := &runtimeAPI{}
	server := httptest.NewServer(api)
	defer server.Close()
	function := exec.CommandContext(t.Context(), filepath.Join("web", "bootstrap"))
	function.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(server.URL, "http://")}
	if out, err := function.CombinedOutput(); err == nil || !strings.Contains(string(out), "greeting Ada") {
		t.Errorf("%v: %s", err, out)
	}
	if len(api.answers) != 2 || api.answers[0] != `r0/response {"message":"Hello, Ada!"}` || !strings.HasPrefix(api.answers[1], `r1/error {"errorMessage":"json: cannot unmarshal array`) {
		t.Errorf("%q", api.answers)
	}
}
