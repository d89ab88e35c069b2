package faults

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/bench"
	"thaw/pagecache"
)

// Environment is what a figure depends on besides the program.
type Environment struct {
	Time    time.Time `json:"time"`
	Kernel  string    `json:"kernel"`
	CPU     string    `json:"cpu"`
	Cores   int       `json:"cores"`
	Version string    `json:"thaw"`
	Load    string    `json:"load"`
	// Disk is the model, or the driver, of the disk of the scratch file.
	Disk         string `json:"disk"`
	ReadaheadKiB int    `json:"readahead_kib"`
	// HugePages and HugeFiles are when the kernel uses transparent huge pages, for
	// anonymous memory and for files in memory; ReservedHugePages are of hugetlbfs.
	HugePages         string `json:"huge_pages"`
	HugeFiles         string `json:"huge_files"`
	ReservedHugePages string `json:"reserved_huge_pages"`
}

func environment(o Options) (e Environment, err error) {
	if os.Geteuid() != 0 {
		return e, thaw.Errorf(thaw.CodeInvalid, "page faults are measured as root, such as with sudo: user %d may not serve them nor read page maps", os.Geteuid())
	}
	disk, err := diskOf(o.Folder)
	if err != nil {
		return e, err
	}
	readahead, err := pagecache.ReadaheadOf(o.Folder)
	if err != nil {
		return e, err
	}
	const huge = "/sys/kernel/mm/transparent_hugepage/"
	e = Environment{
		Time: time.Now().UTC(), Kernel: bench.Kernel(), CPU: processor(), Cores: runtime.NumCPU(), Version: o.Version, Load: bench.Load(),
		Disk: disk, HugePages: chosen(huge + "enabled"), HugeFiles: chosen(huge + "shmem_enabled"), ReservedHugePages: line("/proc/sys/vm/nr_hugepages"),
	}
	e.ReadaheadKiB, err = readahead.Get()
	return e, err
}

// diskOf names the disk of a folder: the block device with its model, or else its
// driver.
func diskOf(folder string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(folder, &st); err != nil {
		return "", thaw.Errorf(thaw.CodeInvalid, "use folder %s: %w", folder, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return "", thaw.Errorf(thaw.CodeInvalid, "%s is not a folder", folder)
	}
	device, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return "", thaw.Errorf(thaw.CodeInvalid, "folder %s is not on a disk (is it a tmpfs, or an overlay?): choose one that is with --dir", folder)
	}
	name := filepath.Base(device)
	if _, err := os.Stat(filepath.Join(device, "partition")); err == nil {
		device = filepath.Dir(device)
	}
	model := line(filepath.Join(device, "device", "model"))
	if driver, err := filepath.EvalSymlinks(filepath.Join(device, "device", "driver")); model == "" && err == nil {
		model = filepath.Base(driver)
	}
	if model == "" {
		return name, nil
	}
	return name + " (" + model + ")", nil
}

// line is the text of a small file, "" if there is none.
func line(file string) string {
	b, _ := os.ReadFile(file)
	return strings.TrimSpace(string(b))
}

// chosen is the word in brackets of a setting in sysfs.
func chosen(file string) string {
	_, rest, _ := strings.Cut(line(file), "[")
	word, _, _ := strings.Cut(rest, "]")
	return word
}

func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
