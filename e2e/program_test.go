package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/client"
	"thaw/image"
	"thaw/internal/testcache"
)

// program is `thaw serve` as a process.
type program struct {
	*client.Client
	cmd *exec.Cmd
	err *bytes.Buffer
}

// build makes the program once per test that needs it.
func build(t *testing.T) string {
	t.Helper()
	requirements(t)
	return goBuild(t, "thaw", "../cmd/thaw")
}

// serve starts a daemon as a process and waits until it serves.
func serve(t *testing.T, bin, state string, args ...string) *program {
	t.Helper()
	shareAcceleration(t, state)
	p := &program{err: &bytes.Buffer{}}
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--state", state, "--images", filepath.Join(testcache.Dir(t), "images")}, args...)
	p.cmd = exec.Command(bin, args...)
	p.cmd.Stderr = p.err
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	_, rest, found := strings.Cut(line, "http://")
	if err != nil || !found {
		_ = p.cmd.Wait()
		t.Fatalf("the daemon does not serve: %q, %v\n%s", line, err, p.err)
	}
	shareAcceleration(t, state)
	addr, _, _ := strings.Cut(rest, ";")
	if p.Client, err = client.New(addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Client.Close)
	return p
}

func (p *program) deploy(t *testing.T, name, folder string) {
	t.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(image.Pack(folder, w)) }()
	defer r.Close()
	if _, err := p.Deploy(t.Context(), name, thaw.Settings{}, r, func(thaw.DeployEvent) {}); err != nil {
		t.Fatalf("deploy: %v\n%s", err, p.err)
	}
}

// gone waits until none of pids runs.
func gone(t *testing.T, pids []int) {
	t.Helper()
	eventually(t, "the end of the VMs", func() bool {
		for _, pid := range pids {
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
				return false
			}
		}
		return true
	})
}

// TestProgram takes a daemon through a kill in the middle of everything, a
// start on what is left, and an orderly end.
func TestProgram(t *testing.T) {
	bin, state := build(t), t.TempDir()
	p := serve(t, bin, state)
	p.deploy(t, "probe", "testdata/probe")
	t.Run("StateInUse", func(t *testing.T) { testStateInUse(t, bin, state) })
	t.Run("CommandLine", func(t *testing.T) { testCommandLine(t, bin, p) })
	t.Run("Kill", func(t *testing.T) { testKill(t, p) })

	p = serve(t, bin, state)
	if last := p.latest(t, "probe"); last.State != thaw.PublishDone || last.Resumed != 1 {
		t.Errorf("the deploy that was killed: %+v", last)
	}
	reply, err := p.InvokeRecorded(t.Context(), thaw.InvokeRequest{Function: "probe", Payload: []byte(helloEvent), Policy: thaw.PolicyVanilla, Cold: true})
	if err != nil {
		t.Fatal(err)
	}
	hello(t, reply, thaw.StartCold, thaw.PolicyVanilla)
	for _, pattern := range []string{"snapshots/draft-*", "snapshots/*/.*"} {
		if left, _ := filepath.Glob(filepath.Join(state, pattern)); len(left) > 0 {
			t.Errorf("left by the kill: %v", left)
		}
	}
	t.Run("Drain", func(t *testing.T) { testDrain(t, p) })
}

// testKill kills the daemon while one request runs, one instance is idle and a
// deploy boots its guest.
func testKill(t *testing.T, p *program) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := p.Invoke(ctx, thaw.InvokeRequest{Function: "probe", Payload: []byte(helloEvent), Cold: true}); err != nil {
		t.Fatal(err)
	}
	go p.Invoke(ctx, thaw.InvokeRequest{Function: "probe", Payload: []byte(`{"do": "sleep", "seconds": 20}`), Cold: true})
	go func() {
		r, w := io.Pipe()
		go func() { w.CloseWithError(image.Pack("testdata/probe", w)) }()
		defer r.Close()
		_, _ = p.Deploy(ctx, "probe", thaw.Settings{}, r, func(thaw.DeployEvent) {})
	}()
	var pids []int
	eventually(t, "VMs that are idle, busy, waiting and booting", func() bool {
		pids = vmms(t, p.cmd.Process.Pid)
		return len(pids) >= 4
	})
	time.Sleep(time.Second) // into the boot
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	gone(t, pids)
}

// testDrain ends the daemon with a signal while a request runs: the request is
// finished, and nothing is left.
func testDrain(t *testing.T, p *program) {
	done := make(chan error, 1)
	go func() {
		_, err := p.Invoke(t.Context(), thaw.InvokeRequest{Function: "probe", Payload: []byte(`{"do": "sleep", "seconds": 2}`), Cold: true})
		done <- err
	}()
	eventually(t, "a busy VM", func() bool {
		all, err := p.Instances(t.Context())
		return err == nil && len(all) > 0 && all[len(all)-1].State == thaw.InstanceBusy
	})
	pids := vmms(t, p.cmd.Process.Pid)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the request that ran: %v", err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v\n%s", err, p.err)
	}
	gone(t, pids)
}

func testStateInUse(t *testing.T, bin, state string) {
	for name, args := range map[string][]string{
		"State":  {"--state", state, "--images", t.TempDir()},
		"Images": {"--state", t.TempDir(), "--images", filepath.Join(testcache.Dir(t), "images")},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := execute(t, bin, nil, append([]string{"serve", "--listen", "127.0.0.1:0", "--accel", "tcg"}, args...)...)
			if code != 4 || !strings.Contains(out, "in use") {
				t.Errorf("exit %d: %s; want 4 and what is in use", code, out)
			}
		})
	}
}

// execute runs the program and returns both outputs and its exit code.
func execute(t *testing.T, bin string, env []string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

// testCommandLine checks what a person sees.
func testCommandLine(t *testing.T, bin string, p *program) {
	env := []string{"THAW_ADDR=" + strings.TrimPrefix(p.Addr(), "http://")}
	// The cases come in any order, and there must be something to explain.
	if out, code := execute(t, bin, env, "invoke", "probe", "-d", helloEvent); code != 0 {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"Reply":            {[]string{"invoke", "probe", "-d", helloEvent}, 0, `{"message": "hello, Ada"}`},
		"FunctionError":    {[]string{"invoke", "probe", "-d", `{"do": "raise"}`}, 1, "that is no number"},
		"JSON":             {[]string{"invoke", "probe", "--cold", "--policy", "vanilla", "-o", "json"}, 0, `"start": "cold"`},
		"NotFound":         {[]string{"invoke", "nobody"}, 3, "does not exist"},
		"UnknownPolicy":    {[]string{"invoke", "probe", "--policy", "magic"}, 2, "boot, vanilla, eager"},
		"BadHandler":       {[]string{"deploy", "x", "testdata/probe", "--handler", "app.nothing"}, 1, "HandlerNotFound"},
		"NoHandlerFile":    {[]string{"deploy", "x", "testdata/probe", "--handler", "other.handler"}, 2, "other.py"},
		"UnknownRuntime":   {[]string{"deploy", "x", "testdata/probe", "--runtime", "perl"}, 2, "choose one of python3, node, provided"},
		"NoMemory":         {[]string{"deploy", "x", "testdata/probe", "--memory", "0"}, 2, "128 MiB"},
		"TooMuchMemory":    {[]string{"deploy", "x", "testdata/probe", "--memory", "1TiB"}, 2, "4GiB"},
		"NameWithSlash":    {[]string{"deploy", "a/b", "testdata/probe"}, 2, "not valid"},
		"NameWithDots":     {[]string{"deploy", "..", "testdata/probe"}, 2, "not valid"},
		"NameTooLong":      {[]string{"deploy", strings.Repeat("n", 300), "testdata/probe"}, 2, "at most 64"},
		"List":             {[]string{"ls"}, 0, "probe"},
		"Describe":         {[]string{"describe", "probe"}, 0, "snapshot"},
		"Explain":          {[]string{"explain", "probe"}, 0, "What to change"},
		"ExplainNobody":    {[]string{"explain", "nobody"}, 3, "does not exist"},
		"ExplainUnknown":   {[]string{"explain", "00000000-0000-4000-8000-000000000000"}, 3, "no invocation"},
		"ExplainNowhere":   {[]string{"explain", "probe", "--svg", "/does/not/exist/x"}, 2, "does not exist"},
		"Processes":        {[]string{"ps"}, 0, "INSTANCE"},
		"RemoveNotThere":   {[]string{"rm", "nobody"}, 3, "does not exist"},
		"BenchNotThere":    {[]string{"bench", "nobody"}, 3, "does not exist"},
		"BenchNoSamples":   {[]string{"bench", "probe", "-n", "0"}, 2, "out of range"},
		"BenchUnknown":     {[]string{"bench", "probe", "--policies", "reap,none"}, 2, "unknown policy \"none\""},
		"BenchTwice":       {[]string{"bench", "probe", "probe"}, 2, "named twice"},
		"BenchRecord":      {[]string{"bench", "probe", "--record", "{"}, 2, "--record"},
		"RecordNothing":    {[]string{"invoke", "probe", "--record", "--policy", "vanilla"}, 2, "records nothing"},
		"BenchFolder":      {[]string{"bench", "probe", "--go", "/tmp"}, 2, "is a folder"},
		"BenchClonesTwice": {[]string{"bench", "probe", "--clones", "2,2"}, 2, "2 twice"},
		"BenchNoClones":    {[]string{"bench", "probe", "--clones", "0"}, 2, "out of range"},
		"BenchNoCopies":    {[]string{"bench", "probe", "--different", "--clones", "2"}, 2, "name the function"},
		"BenchUnwritable":  {[]string{"bench", "probe", "--go", "/does/not/exist/x"}, 2, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := execute(t, bin, env, c.args...)
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("thaw %s: exit %d, want %d with %q:\n%s", strings.Join(c.args, " "), code, c.code, c.want, out)
			}
		})
	}
	t.Run("LogsOfTheFailure", func(t *testing.T) {
		out, code := execute(t, bin, env, "logs", "probe")
		if code != 0 || !strings.Contains(out, "ValueError") {
			t.Errorf("exit %d:\n%s", code, out)
		}
	})
	t.Run("BenchClones", func(t *testing.T) {
		out, code := execute(t, bin, env, "bench", "probe", "-n", "1", "--clones", "3", "--policies", "thaw", "-d", helloEvent)
		if code != 0 || !strings.Contains(out, "3 at the same time of the same snapshot") {
			t.Errorf("exit %d:\n%s", code, out)
		}
	})
}

// TestProgramRefuses covers machines on which nothing can work.
func TestProgramRefuses(t *testing.T) {
	bin := build(t)
	t.Run("QEMUMissing", func(t *testing.T) {
		out, code := execute(t, bin, []string{"PATH=/nowhere"}, "serve", "--state", t.TempDir())
		if code != 4 || !strings.Contains(out, "qemu") {
			t.Errorf("exit %d: %s", code, out)
		}
	})
	t.Run("NotRoot", func(t *testing.T) {
		// The test's folder is root's: run a copy where everyone may.
		dir, err := os.MkdirTemp("", "thaw-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		public := filepath.Join(dir, "thaw")
		b, err := os.ReadFile(bin)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(public, b, 0o755)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(public, "serve", "--state", filepath.Join(dir, "state"))
		cmd.Env = append(cmd.Environ(), "HOME="+dir) // with settings that it may read
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 4 || !strings.Contains(string(out), "root") {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("RegistryFlipped", func(t *testing.T) {
		state := t.TempDir()
		if err := os.WriteFile(filepath.Join(state, "registry.db"), bytes.Repeat([]byte("thaw"), 5000), 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := execute(t, bin, nil, "serve", "--listen", "127.0.0.1:0", "--state", state, "--accel", "tcg")
		if code != 4 || !strings.Contains(out, "registry") {
			t.Errorf("exit %d: %s", code, out)
		}
	})
}
