package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"thaw/internal/testcache"
)

// The clients from PyPI.
const (
	boto3Version  = "1.44.8"
	awscliVersion = "1.46.3"
)

// pythonClients returns the interpreter of an environment that has the AWS clients for
// Python, which is made once for each cache.
func pythonClients(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(testcache.Dir(t), "aws-clients-"+boto3Version+"-"+awscliVersion)
	python, complete := filepath.Join(dir, "bin", "python3"), filepath.Join(dir, "complete")
	defer lockFile(t, dir+".lock")()
	if _, err := os.Stat(complete); err == nil {
		return python
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("python3", "-m", "venv", dir).CombinedOutput(); err != nil {
		t.Skipf("python3 makes no environment (%v: %s): install python3-venv", err, out)
	}
	install := exec.Command(python, "-m", "pip", "install", "--quiet", "boto3=="+boto3Version, "awscli=="+awscliVersion)
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("pip cannot install the AWS clients (%v: %s): connect this machine to a Python package index, or set PIP_INDEX_URL", err, out)
	}
	if err := os.WriteFile(complete, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return python
}

// lockFile takes a lock that other processes take as well; what it returns gives it
// back.
func lockFile(t *testing.T, name string) func() {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() }
}

// awsEnv points AWS's clients at s, and at nothing else of this machine.
func awsEnv(s *site, home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "AWS_ENDPOINT_URL_LAMBDA=" + s.url, "AWS_DEFAULT_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE",
		"AWS_SECRET_ACCESS_KEY=secret", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "LANG=C.UTF-8",
	}
}

// TestPythonClients has boto3 and the AWS CLI make, use and delete a function.
func TestPythonClients(t *testing.T) {
	requirements(t)
	python := pythonClients(t)
	s, dir := open(t, t.TempDir(), nil), t.TempDir()
	for word, name := range map[string]string{"hello": "one.zip", "bye": "two.zip"} {
		if err := os.WriteFile(filepath.Join(dir, name), greeter(t, word), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), python, args...)
		cmd.Dir, cmd.Env = dir, awsEnv(s, dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	t.Run("boto3", func(t *testing.T) {
		t.Parallel() // most of the time goes to waiting
		script, err := filepath.Abs("testdata/clients/boto.py")
		if err != nil {
			t.Fatal(err)
		}
		if out, err := run(script, "one.zip", "two.zip"); err != nil || out != "done\n" {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("aws", func(t *testing.T) {
		t.Parallel()
		testAWSCLI(t, dir, run)
	})
}

func testAWSCLI(t *testing.T, dir string, run func(args ...string) (string, error)) {
	for _, step := range []struct {
		line string
		want string // in the output
		fail bool
	}{
		{"create-function --function-name cli --runtime python3.12 --handler main.handler --role arn:aws:iam::123456789012:role/x --zip-file fileb://one.zip", `"State": "Pending"`, false},
		{"wait function-active-v2 --function-name cli", "", false},
		{"invoke --function-name cli --payload {\"name\":\"Ada\"} --log-type Tail --query ExecutedVersion out.json", `"1"`, false},
		{"publish-version --function-name cli --query Version", `"1"`, false},
		{"create-alias --function-name cli --name live --function-version 1", `:function:cli:live"`, false},
		{"update-function-configuration --function-name cli --environment Variables={MODE=x}", `"LastUpdateStatus": "InProgress"`, false},
		{"wait function-updated-v2 --function-name cli", "", false},
		{"get-function-configuration --function-name cli:2 --query Environment.Variables.MODE", `"x"`, false},
		{"list-aliases --function-name cli --query Aliases[].Name --output text", "live\n", false},
		{"list-functions --query Functions[?FunctionName=='cli'].FunctionName --output text", "cli\n", false},
		{"get-policy --function-name cli", "ResourceNotFoundException", true},
		{"create-function --function-name cli --runtime python3.12 --handler main.handler --role r --zip-file fileb://one.zip", "ResourceConflictException", true},
		{"delete-function --function-name cli", "", false},
		{"get-function --function-name cli", "ResourceNotFoundException", true},
	} {
		out, err := run(append([]string{"-m", "awscli", "lambda"}, strings.Fields(step.line)...)...)
		if (err != nil) != step.fail || !strings.Contains(out, step.want) {
			t.Fatalf("aws lambda %s: %v, want %s: %s", step.line, err, step.want, out)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "out.json"))
	if err != nil || decode[said](t, raw).Says != "hello Ada" {
		t.Errorf("invoke wrote %s, %v", raw, err)
	}
}
