package boot

import (
	"encoding/hex"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"thaw/agent/wire"
)

// poolInfo is struct rand_pool_info of linux/random.h.
type poolInfo struct {
	entropyBits int32
	bytes       int32
	buf         [wire.EntropyLen]byte
}

// reseed mixes entropy into the kernel's generator, makes it draw new keys
// (random(4), RNDADDENTROPY and RNDRESEEDCRNG) and returns 16 bytes of what
// comes out in hex.
func (s System) reseed(entropy []byte) (string, error) {
	info := poolInfo{entropyBits: 8 * wire.EntropyLen, bytes: wire.EntropyLen}
	copy(info.buf[:], entropy)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s.random), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info))); e != 0 {
		return "", fmt.Errorf("add entropy: %w", e)
	}
	clear(info.buf[:])
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s.random), unix.RNDRESEEDCRNG, 0); e != 0 {
		return "", fmt.Errorf("reseed random number generator: %w", e)
	}
	var sample [16]byte
	if n, err := unix.Getrandom(sample[:], 0); err != nil || n != len(sample) {
		return "", fmt.Errorf("read %d random bytes, got %d: %w", len(sample), n, err)
	}
	return hex.EncodeToString(sample[:]), nil
}
