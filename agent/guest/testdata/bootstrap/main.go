// Command bootstrap is a function of the provided runtime for tests: it speaks
// the Lambda Runtime API by net/http and does what the event asks for.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

type event struct {
	Op   string `json:"op"`
	Text string `json:"text"`
	Size int    `json:"size"`
}

func main() {
	if len(os.Args) > 1 { // the child of an orphan test
		time.Sleep(time.Hour)
	}
	base := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/"
	if text := os.Getenv("FAIL_INIT"); text != "" {
		post(base+"init/error", "Test.InitError", []byte(`{"errorType":"Test.InitError","errorMessage":"`+text+`"}`))
		os.Exit(1)
	}
	if os.Getenv("USE_RESTORE") != "" {
		fmt.Println("before snapshot")
		get(base + "restore/next")
		fmt.Println("after restore")
	}
	if text := os.Getenv("FAIL_RESTORE"); text != "" {
		post(base+"restore/error", "Test.RestoreError", []byte(`{"errorType":"Test.RestoreError","errorMessage":"`+text+`"}`))
		os.Exit(1)
	}
	if os.Getenv("IMPATIENT") != "" { // asks, gives up and asks again
		fmt.Println("gave up:", giveUp(base+"invocation/next") != nil)
		time.Sleep(300 * time.Millisecond) // work comes before it asks again
	}
	pollers, _ := strconv.Atoi(os.Getenv("AWS_LAMBDA_MAX_CONCURRENCY"))
	for range pollers - 1 {
		go poll(base)
	}
	poll(base)
}

func poll(base string) {
	for {
		header, body := get(base + "invocation/next")
		serve(base+"invocation/"+header.Get("Lambda-Runtime-Aws-Request-Id"), header, body)
	}
}

// together returns how many are in it at once when these are n, or never will be.
func together(n int) int32 {
	waiting.Add(1)
	for end := time.Now().Add(10 * time.Second); int(waiting.Load()) < n && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return waiting.Load()
}

var waiting atomic.Int32

// giveUp waits for an answer for a moment, and closes the connection.
func giveUp(url string) error {
	var conn net.Conn
	defer func() { _ = conn.Close() }()
	dial := func(_ context.Context, network, addr string) (c net.Conn, err error) {
		conn, err = net.Dial(network, addr)
		return conn, err
	}
	impatient := &http.Client{Timeout: 100 * time.Millisecond, Transport: &http.Transport{DialContext: dial}}
	_, err := impatient.Get(url)
	return err
}

func serve(url string, header http.Header, body []byte) {
	var e event
	_ = json.Unmarshal(body, &e)
	switch e.Op {
	case "echo":
		post(url+"/response", "", body)
	case "headers":
		b, _ := json.Marshal(header)
		post(url+"/response", "", b)
	case "error":
		post(url+"/error", "Test.Error", []byte(e.Text))
	case "size":
		post(url+"/response", "", bytes.Repeat([]byte{'x'}, e.Size))
	case "chunked":
		resp, err := http.Post(url+"/response", "", io.MultiReader(strings.NewReader(e.Text)))
		check(err)
		resp.Body.Close()
	case "wrong id":
		post(url+"/response", "", []byte(fmt.Sprint(post(url+"x/response", "", []byte("stolen")))))
	case "twice":
		first := post(url+"/response", "", []byte("first"))
		fmt.Println(first, post(url+"/response", "", []byte("second")))
	case "next first":
		resp, err := http.Get(strings.TrimSuffix(url, header.Get("Lambda-Runtime-Aws-Request-Id")) + "next")
		check(err)
		resp.Body.Close()
		post(url+"/response", "", []byte(fmt.Sprint(resp.StatusCode)))
	case "orphans":
		post(url+"/response", "", []byte(orphans()))
	case "log":
		for i := range e.Size {
			fmt.Println(e.Text, i)
		}
		post(url+"/response", "", []byte("{}"))
	case "sleep":
		time.Sleep(time.Duration(e.Size) * time.Second)
	case "together":
		post(url+"/response", "", []byte(fmt.Sprint(together(e.Size))))
	case "look":
		b, _ := json.Marshal(look())
		post(url+"/response", "", b)
	}
}

// orphans leaves a process behind, in its own session, and returns its id.
func orphans() string {
	cmd := exec.Command("/proc/self/exe", "sleep")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check(cmd.Start())
	return fmt.Sprint(cmd.Process.Pid)
}

// look describes the world around this process.
func look() map[string]string {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(b))
	}
	tried := func(err error) string {
		if err != nil {
			return err.Error()
		}
		return "ok"
	}
	host, _ := os.Hostname()
	cwd, _ := os.Getwd()
	_, dial := net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	return map[string]string{
		"user": fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()), "hostname": host, "cwd": cwd,
		"instance": read("/run/thaw/instance-id"), "machine": read("/etc/machine-id"),
		"boot": read("/proc/sys/kernel/random/boot_id"), "mounts": read("/proc/self/mounts"),
		"limits": read("/proc/self/limits"), "oom": read("/proc/self/oom_score_adj"),
		"time": fmt.Sprint(time.Now().UnixNano()), "mem": read("/proc/meminfo"),
		"write tmp":   tried(os.WriteFile("/tmp/x", []byte("x"), 0o600)),
		"write shm":   tried(os.WriteFile("/dev/shm/x", []byte("x"), 0o600)),
		"write task":  tried(os.WriteFile("/var/task/x", nil, 0o600)),
		"write root":  tried(os.WriteFile("/x", nil, 0o600)),
		"open port":   tried(openPort()),
		"dial closed": tried(dial),
		"env":         strings.Join(os.Environ(), "\n"),
		"init":        read("/init"),
	}
}

func openPort() error {
	ports, err := filepath.Glob("/dev/vport*")
	if err != nil || len(ports) == 0 {
		return fmt.Errorf("no port: %v", err)
	}
	f, err := os.OpenFile(ports[0], os.O_RDWR, 0)
	if err == nil {
		f.Close()
	}
	return err
}

func get(url string) (http.Header, []byte) {
	resp, err := http.Get(url)
	check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(err)
	return resp.Header, body
}

func post(url, kind string, body []byte) int {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	check(err)
	if kind != "" {
		req.Header.Set("Lambda-Runtime-Function-Error-Type", kind)
	}
	resp, err := http.DefaultClient.Do(req)
	check(err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
