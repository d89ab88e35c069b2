package procstat

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Own is the memory in bytes that would be free without process pid: what is no
// file's, with its part of what it shares with other processes, such as clones
// (proc(5), smaps_rollup, Pss_Anon and Pss_Shmem; Linux 5.4).
func Own(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read a process's memory: %w", err)
	}
	return parseRollup(b)
}

func parseRollup(b []byte) (sum int64, err error) {
	found := 0
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if s := string(name); s != "Pss_Anon" && s != "Pss_Shmem" {
			continue
		}
		kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read a process's memory: %w", err)
		}
		sum += kib << 10
		found++
	}
	if found != 2 {
		return 0, errors.New("read a process's memory: this kernel does not tell anonymous memory apart (Linux 5.4 does)")
	}
	return sum, nil
}
