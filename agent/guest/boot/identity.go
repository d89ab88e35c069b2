package boot

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Where programs in the guest find who they are. The last two are those of the
// kernel and of machine-id(5): files of ours lie over them, because what was read
// before the snapshot would be the same in every clone.
const (
	idFile      = "/run/thaw/instance-id"
	machineFile = "/etc/machine-id"
	bootFile    = "/proc/sys/kernel/random/boot_id"
)

// fresh is what the kernel's generator gave right after it was reseeded.
type fresh struct {
	sample        [16]byte // for the host
	machine, boot [16]byte // identities
}

// identity is where the guest's identity is written: prepared at boot, so that a
// resume writes to memory and makes no more system calls than it must.
type identity struct {
	id      int    // descriptor of idFile
	machine []byte // mapping of the file over machineFile
	boot    []byte // of the one over bootFile
}

// The sizes of the files: 32 digits, and a UUID, each on a line of its own.
const (
	machineLen = 32 + 1
	bootLen    = 36 + 1
)

func newIdentity() (i identity, err error) {
	dir := filepath.Dir(idFile)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return i, err
	}
	if i.id, err = unix.Open(idFile, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644); err != nil {
		return i, fmt.Errorf("open the instance id: %w", err)
	}
	if i.machine, err = overlay(filepath.Join(dir, "machine-id"), machineFile, machineLen); err != nil {
		return i, err
	}
	i.boot, err = overlay(filepath.Join(dir, "boot-id"), bootFile, bootLen)
	return i, err
}

// overlay makes a file of size bytes, lays it over target and returns a mapping of
// it, through which its content can be changed by no more than a store.
func overlay(file, target string, size int) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the mapping stays
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", file, err)
	}
	if err := ensure(target); err != nil {
		return nil, err
	}
	if err := unix.Mount(file, target, "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("lay %s over %s: %w", file, target, err)
	}
	return b, nil
}

// ensure makes target unless it is there.
func ensure(target string) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, nil, 0o444)
}

// take makes id the hostname and the content of idFile, writes a machine id and a
// boot id of its own, and returns the hostname as read back. Who has taken id
// before, because a host that sets the clock once more says it again, keeps them.
func (i identity) take(id string, f fresh) (string, error) {
	if name, err := hostname(); err != nil || name == id {
		return name, err
	}
	hex.Encode(i.machine, asUUID(f.machine))
	i.machine[machineLen-1] = '\n'
	writeUUID(i.boot, asUUID(f.boot))
	i.boot[bootLen-1] = '\n'
	if err := i.writeID(id); err != nil {
		return "", fmt.Errorf("write instance id: %w", err)
	}
	if err := setHostname([]byte(id)); err != nil { // last: it says that the rest is done
		return "", fmt.Errorf("set hostname: %w", err)
	}
	return hostname()
}

// asUUID marks 16 random bytes as a UUID, version 4 (RFC 9562), which a machine id
// is as well (machine-id(5)).
func asUUID(b [16]byte) []byte {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return b[:]
}

// writeUUID writes u with its dashes to dst.
func writeUUID(dst, u []byte) {
	hex.Encode(dst, u[:4])
	at := 8
	for _, part := range [][]byte{u[4:6], u[6:8], u[8:10], u[10:]} {
		dst[at] = '-'
		hex.Encode(dst[at+1:], part)
		at += 1 + 2*len(part)
	}
}

// writeID changes idFile in place. Nobody reads it meanwhile: the function waits
// for the restore to be over.
func (i identity) writeID(id string) error {
	line := id + "\n"
	if err := pwrite(i.id, []byte(line)); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := fstat(i.id, &st); err != nil {
		return err
	}
	if st.Size == int64(len(line)) {
		return nil
	}
	if err := unix.Ftruncate(i.id, int64(len(line))); err != nil {
		return err
	}
	return nil
}
