// Command thaw-agent is /init of a guest: it boots the guest's user space from
// an initramfs and serves the host from then on. It never ends; what it cannot
// do, it tells the host, or the console when there is no channel to the host.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"thaw/agent/guest"
	"thaw/agent/guest/boot"
)

// The garbage collector runs only when memory is short, never by the clock, so
// that an idle or a just restored agent touches no page for it. The limit is
// soft: a request and a reply of the largest size go over it for a while, which
// makes the collector run often but costs little, as bytes hold no pointers.
const memoryLimit = 16 << 20

// spareThreads is one for each thing that may block in the kernel at once: the
// channel, the console, the end of a process, and two to spare.
const spareThreads = 5

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "thaw-agent is the first process of a guest of thaw. It does nothing anywhere else.")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1) // nothing here is worth the pages of a second thread that looks for work
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	boot.SpareThreads(spareThreads)
	fmt.Fprintln(os.Stderr, "thaw-agent:", run())
	powerOff()
}

// run returns only when the host cannot be told any more.
func run() error {
	if err := boot.Early(); err != nil {
		return err
	}
	modulesErr := boot.LoadModules("/modules")
	port, err := boot.OpenPort()
	if err != nil {
		return errors.Join(err, modulesErr)
	}
	defer port.Close()
	cfg := guest.Config{
		Port: port, PID1: true,
		Credential: &syscall.Credential{Uid: boot.FunctionUser, Gid: boot.FunctionUser},
		Broken:     modulesErr,
	}
	if cfg.Broken == nil {
		cfg.System, cfg.Broken = prepare()
	}
	return guest.New(cfg).Serve(context.Background())
}

func prepare() (boot.System, error) {
	if err := boot.SwitchRoot(); err != nil {
		return boot.System{}, err
	}
	if err := boot.LoopbackUp(); err != nil {
		return boot.System{}, err
	}
	if err := boot.Limit(); err != nil {
		return boot.System{}, err
	}
	return boot.NewSystem()
}

// powerOff ends the machine, which is what the host waits for. Were PID 1 to
// exit, the kernel would panic and might stay so.
func powerOff() {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "thaw-agent: power off:", err)
	}
	for {
		time.Sleep(time.Hour)
	}
}
