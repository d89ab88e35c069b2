package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
)

// testFailures lets the function fail in every way: each gives its documented
// error, and the daemon serves on.
func testFailures(t *testing.T, s *site) {
	for name, c := range map[string]struct {
		event, kind, message string
	}{
		"Exception":   {`{"do": "raise"}`, "ValueError", "that is no number"},
		"Timeout":     {`{"do": "sleep", "seconds": 60}`, thaw.ErrorTypeTimeout, "Task timed out after 3.00 seconds"},
		"Exit":        {`{"do": "exit"}`, thaw.ErrorTypeExit, "exit status 3"},
		"OutOfMemory": {`{"do": "eat"}`, "", ""}, // MemoryError or a kill by the kernel
		"NoJSON":      {`{"do": "object"}`, "Runtime.MarshalError", "not JSON serializable"},
		"TooBig":      {`{"do": "big", "bytes": 7000000}`, thaw.ErrorTypeTooBig, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.cold(t, "probe", thaw.PolicyReap, c.event)
			e := decode[thaw.FunctionError](t, r.Payload)
			if r.FunctionError == "" || c.kind != "" && e.Type != c.kind || !strings.Contains(e.Message, c.message) {
				t.Errorf("function error %q: %s; want type %s with %q", r.FunctionError, r.Payload, c.kind, c.message)
			}
			hello(t, s.cold(t, "probe", thaw.PolicyReap, helloEvent), thaw.StartCold, thaw.PolicyReap)
		})
	}
	t.Run("FinishedInstanceIsNotReused", func(t *testing.T) {
		dead := s.cold(t, "probe", thaw.PolicyReap, `{"do": "exit"}`)
		if r := s.warm(t, "probe", helloEvent); r.Instance == dead.Instance {
			t.Error("the instance whose runtime has ended served again")
		}
	})
	t.Run("LambdaShape", func(t *testing.T) { testLambdaShape(t, s) })
	t.Run("KernelPanic", func(t *testing.T) { testKernelPanic(t, s) })
	t.Run("VMMKilled", func(t *testing.T) { testVMMKilled(t, s) })
	t.Run("IdleVMMKilled", func(t *testing.T) { testIdleVMMKilled(t, s) })
}

// testLambdaShape looks at the bare HTTP reply.
func testLambdaShape(t *testing.T, s *site) {
	url := s.url + "/2015-03-31/functions/probe/invocations"
	for name, c := range map[string]struct {
		body   string
		status int
		header map[string]string
	}{
		"Reply":    {`{"do": "echo", "n": 1}`, 200, map[string]string{"X-Amz-Executed-Version": "1", "X-Amz-Function-Error": ""}},
		"Failure":  {`{"do": "raise"}`, 200, map[string]string{"X-Amz-Function-Error": "Unhandled"}},
		"NoJSON":   {`{"do": `, 400, map[string]string{"X-Amzn-Errortype": "InvalidRequestContentException"}},
		"TooLarge": {`"` + strings.Repeat("x", 7<<20) + `"`, 413, map[string]string{"X-Amzn-Errortype": "RequestTooLargeException"}},
	} {
		t.Run(name, func(t *testing.T) {
			reply, err := http.Post(url, "application/json", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			defer reply.Body.Close()
			body, _ := io.ReadAll(reply.Body)
			if reply.StatusCode != c.status || reply.Header.Get("Server-Timing") == "" {
				t.Errorf("status %d, Server-Timing %q, want %d: %.200s", reply.StatusCode, reply.Header.Get("Server-Timing"), c.status, body)
			}
			for k, want := range c.header {
				if got := reply.Header.Get(k); got != want {
					t.Errorf("%s: %q, want %q", k, got, want)
				}
			}
			if c.status == 200 && reply.Header.Get("Thaw-Start") == "" {
				t.Error("no Thaw-Start")
			}
		})
	}
}

// busy runs an invocation that sleeps and returns the instance it is on and,
// when it has ended, its error.
func busy(t *testing.T, s *site) (thaw.Instance, <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := s.Invoke(t.Context(), thaw.InvokeRequest{Function: "probe", Payload: []byte(`{"do": "sleep", "seconds": 2.5}`), Policy: thaw.PolicyReap, Cold: true})
		done <- err
	}()
	var found thaw.Instance
	eventually(t, "a busy instance", func() bool {
		for _, in := range s.daemon.Instances() {
			if in.State == thaw.InstanceBusy {
				found = in
				return true
			}
		}
		return false
	})
	time.Sleep(300 * time.Millisecond) // into the handler
	return found, done
}

func testKernelPanic(t *testing.T, s *site) {
	in, done := busy(t, s)
	if err := s.daemon.Interrupt(t.Context(), in.ID); err != nil {
		t.Fatal(err)
	}
	err := <-done
	if thaw.CodeOf(err) != thaw.CodeInstance || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("error %v, want a failed instance with the kernel's last words", err)
	}
	hello(t, s.cold(t, "probe", thaw.PolicyReap, helloEvent), thaw.StartCold, thaw.PolicyReap)
}

func testVMMKilled(t *testing.T, s *site) {
	in, done := busy(t, s)
	if err := unix.Kill(in.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-done; thaw.CodeOf(err) != thaw.CodeInstance {
		t.Errorf("error %v, want a failed instance", err)
	}
	hello(t, s.cold(t, "probe", thaw.PolicyReap, helloEvent), thaw.StartCold, thaw.PolicyReap)
}

func testIdleVMMKilled(t *testing.T, s *site) {
	r := s.cold(t, "probe", thaw.PolicyReap, helloEvent)
	for _, in := range s.daemon.Instances() {
		if in.ID == r.Instance {
			if err := unix.Kill(in.PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the instance is gone", func() bool {
		for _, in := range s.daemon.Instances() {
			if in.ID == r.Instance {
				return false
			}
		}
		return true
	})
}
