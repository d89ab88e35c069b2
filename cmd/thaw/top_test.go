package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"thaw"
	"thaw/client"
	"thaw/gateway"
	"thaw/metrics"
)

func TestMetricsOfADaemon(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	d.thaw(t, "", "invoke", "hello", "--policy", "vanilla").want(t, 0, "", "")
	c, err := client.New(d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := look(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for series, want := range map[string]float64{
		"thaw_starts_total start=cold policy=vanilla": 1, "thaw_functions": 1, "thaw_instances state=idle": 1,
		"gateway_function_invocation_total function_name=hello code=200": 1,
	} {
		name, labels, _ := strings.Cut(series, " ")
		if got := f.sum(name, strings.Fields(labels)...); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	if got := f.median("thaw_start_duration_seconds", "policy=vanilla"); got < 130*.9 || got > 130*1.1 {
		t.Errorf("a start took %v ms, want 130", got)
	}
}

// TestSpansOfADaemon: what waits when a daemon stops is sent before it ends.
func TestSpansOfADaemon(t *testing.T) {
	bodies := make(chan []byte, 8)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing is not found
		bodies <- body
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	d.thaw(t, "", "invoke", "hello").want(t, 0, "", "")
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	var spans tracepb.TracesData
	if err := proto.Unmarshal(<-bodies, &spans); err != nil {
		t.Fatal(err)
	}
	if got := spans.ResourceSpans[0].ScopeSpans[0].Spans; len(got) != 1 || got[0].Name != "invoke hello" {
		t.Errorf("%v", got)
	}
}

// frameOf is what a daemon shows after these invocations.
func frameOf(t *testing.T, all ...thaw.Invocation) topFrame {
	t.Helper()
	m := metrics.New("v1")
	for _, i := range all {
		m.Observe(i)
	}
	server := httptest.NewServer(gateway.New(gateway.Config{Metrics: m.Handler(), Logger: slog.New(slog.DiscardHandler)}))
	defer server.Close()
	c, err := client.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	families, err := c.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return topFrame{time: time.Unix(100, 0), families: families}
}

func starts(start thaw.Start, policy thaw.Policy, ms ...float64) (all []thaw.Invocation) {
	for _, took := range ms {
		all = append(all, thaw.Invocation{Function: "f", Instance: "i", Start: start, Policy: policy, DurationMS: took, Faults: thaw.Faults{Major: 4}})
	}
	return all
}

func TestMedian(t *testing.T) {
	f := frameOf(t, append(starts(thaw.StartCold, thaw.PolicyThaw, 1, 180, 218, 300, 20_000), starts(thaw.StartCold, thaw.PolicyReap, 500)...)...)
	for label, want := range map[string]float64{"policy=thaw": 218, "policy=reap": 500, "start=cold": 218} {
		if got := f.median("thaw_start_duration_seconds", label); math.Abs(got-want) > want/10 {
			t.Errorf("median of %s is %v ms, want %v", label, got, want)
		}
	}
	if got := f.median("thaw_start_duration_seconds", "policy=eager"); !math.IsNaN(got) {
		t.Errorf("median of none is %v", got)
	}
}

func TestTopView(t *testing.T) {
	before := frameOf(t)
	now := frameOf(t, append(starts(thaw.StartCold, thaw.PolicyThaw, 218), starts(thaw.StartWarm, thaw.PolicyThaw, 10, 10, 10)...)...)
	now.time = now.time.Add(2 * time.Second)
	now.instances = []thaw.Instance{{ID: "i-idle", State: thaw.InstanceIdle}, {ID: "i-busy", State: thaw.InstanceBusy}}
	got := now.screen(before, "addr")
	for _, want := range []string{"invocations 2/s, 25% cold, 0 failed/s", "cold   thaw    1       0.5/s", "warm   thaw    3       1.5/s"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Index(got, "i-busy") > strings.Index(got, "i-idle") {
		t.Errorf("busy VMs are not first:\n%s", got)
	}
	if got := before.line(topFrame{}); !strings.Contains(got, "- invocations/s, - cold") {
		t.Errorf("of nothing: %s", got)
	}
}

func TestTopLines(t *testing.T) {
	d := serveMemory(t)
	got := d.thaw(t, "", "top", "-n", "1")
	got.want(t, 0, "0 invocations/s, - cold, 0 failed/s; VMs: 0 busy, 1 idle, 0 starting, 0 waiting; memory 20 MiB\n", "")
	d.thaw(t, "", "top", "-n", "-1").want(t, exitInvalid, "", "is not valid")
}

// TestTopOnATerminal runs thaw top on a terminal of its own and has it ended in each
// way: the terminal must be as it was.
func TestTopOnATerminal(t *testing.T) {
	d := serveMemory(t)
	for name, end := range map[string]func(master io.Writer, p *os.Process) error{
		"Q":     func(master io.Writer, _ *os.Process) error { _, err := master.Write([]byte("xq")); return err },
		"CtrlC": func(master io.Writer, _ *os.Process) error { _, err := master.Write([]byte{keyCtrlC}); return err },
		"TERM":  func(_ io.Writer, p *os.Process) error { return p.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			master, slave := openPTY(t)
			before := termios(t, slave)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "--addr", d.addr, "top")
			cmd.Args[0] = "thaw" // TestMain runs main
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			seen := readUntil(t, master, "INSTANCE")
			if termios(t, slave) == before {
				t.Error("the terminal is not in raw mode")
			}
			if err := end(master, cmd.Process); err != nil {
				t.Fatal(err)
			}
			seen += readUntil(t, master, leaveScreen)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if termios(t, slave) != before {
				t.Error("the terminal is left in raw mode")
			}
			if !strings.Contains(seen, enterScreen) || !strings.Contains(seen, "i-1") {
				t.Errorf("screen %q", seen)
			}
		})
	}
}

// openPTY returns both ends of a new terminal.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal can be made (%v): mount devpts", err)
	}
	t.Cleanup(func() { master.Close() })
	var n int
	conn, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Control(func(fd uintptr) {
		if err := unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			t.Error(err)
		}
		n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func termios(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	got, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *got
}

// readUntil reads what is drawn until it holds word.
func readUntil(t *testing.T, master *os.File, word string) (seen string) {
	t.Helper()
	if err := master.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for !strings.Contains(seen, word) {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatalf("no %q in %q: %v", word, seen, err)
		}
		seen += string(buf[:n])
	}
	return seen
}

func TestLogsFlags(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	d.thaw(t, "", "logs", "hello", "--request", "inv-1", "--since", "1m").want(t, 0, "hi", "")
	for _, args := range [][]string{{"--request", "inv-2"}, {"--since", "2999-01-01T00:00:00Z"}} {
		if got := d.thaw(t, "", append([]string{"logs", "hello"}, args...)...); got != (outcome{}) {
			t.Errorf("%q: %+v", args, got)
		}
	}
	d.thaw(t, "", "logs", "hello", "--since", "soon").want(t, exitInvalid, "", "such as 10m")
	d.thaw(t, "", "logs", "hello", "-n", "0").want(t, exitInvalid, "", "or with -f also 0")
	d.thaw(t, "", "logs", "none", "-f").want(t, exitNotFound, "", "does not exist")
}

func TestLogsFollow(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr output
	exit := make(chan int)
	go func() {
		exit <- run(ctx, []string{"--addr", d.addr, "logs", "hello", "-f"}, strings.NewReader(""), &stdout, &stderr)
	}()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(stdout.String(), "live") && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if code := <-exit; code != exitInterrupted || !strings.Contains(stdout.String(), "hi") || !strings.Contains(stdout.String(), "platform live") {
		t.Errorf("exit %d, %q, %q", code, &stdout, &stderr)
	}
}
