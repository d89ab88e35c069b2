package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"thaw"
)

const childEnv = "THAW_QUEUE_TEST_CHILD"

// childMain is the process that TestKilled kills: it accepts as fast as it can,
// from four goroutines, says what it accepted, and works meanwhile: each item
// fails, succeeds or goes on.
func childMain() bool {
	path := os.Getenv(childEnv)
	if path == "" {
		return false
	}
	out := make(chan string)
	retry := DefaultRetry()
	retry.Function = Backoff{Base: time.Millisecond, Cap: time.Millisecond}
	q, err := Open(Config{Path: path, Invoker: childInvoker(out), Limits: DefaultLimits(), Retry: retry, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println("error", err)
		return true
	}
	for g := range 4 {
		go func() {
			for {
				it, err := q.Enqueue(context.Background(), thaw.AsyncRequest{Function: fmt.Sprint("f", g), Payload: []byte(strings.Repeat("x", 3000))})
				if thaw.CodeOf(err) == thaw.CodeThrottled {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil {
					out <- "error " + err.Error()
				}
				out <- "accepted " + it.ID
			}
		}()
	}
	for line := range out {
		fmt.Println(line) // not buffered
	}
	return true
}

// childInvoker says what it executes, and fails every other item.
type childInvoker chan<- string

func (c childInvoker) Invoke(_ context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
	c <- "executed " + r.ID
	if r.ID[0]%2 == 0 {
		return thaw.Reply{}, thaw.Errorf(thaw.CodeFunction, "no")
	}
	return thaw.Reply{}, nil
}

// TestKilled kills a process with SIGKILL again and again while it accepts and
// executes. Whatever it acknowledged was executed or is in the file.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	accepted, executed := map[string]bool{}, map[string]bool{}
	for round := range 6 {
		runChild(t, path, 50+round*60, accepted, executed)
		s, err := openStore(path)
		if err != nil {
			t.Fatalf("after kill %d: %v", round, err)
		}
		c, err := s.load()
		if err != nil || len(c.damaged) > 0 {
			t.Fatalf("after kill %d: %v, damaged %v", round, err, c.damaged)
		}
		there := map[string]bool{}
		for _, it := range c.items {
			there[it.ID] = true
			if payload, err := s.payload(it.ID); err != nil || len(payload) != 3000 {
				t.Errorf("the payload of %s is %d bytes: %v", it.ID, len(payload), err)
			}
		}
		for id := range accepted {
			if !executed[id] && !there[id] {
				t.Errorf("after kill %d: %s was acknowledged and is lost", round, id)
			}
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(accepted) < 100 || len(executed) < 100 {
		t.Errorf("only %d were accepted and %d executed", len(accepted), len(executed))
	}
	t.Logf("%d accepted, %d executed", len(accepted), len(executed))
}

// runChild runs the child until it has accepted more, and kills it.
func runChild(t *testing.T, path string, more int, accepted, executed map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// What it wrote before the kill is in the pipe and counts.
	for lines := bufio.NewScanner(out); lines.Scan(); {
		verb, id, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "accepted":
			accepted[id] = true
			if more--; more == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		case "executed":
			executed[id] = true
		default:
			t.Errorf("child: %s", lines.Text())
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.String() != "signal: killed" {
		t.Fatalf("the child ended by itself: %v", err)
	}
}
