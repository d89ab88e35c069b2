package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"thaw"
)

const (
	vmlinuxName = "vmlinux"
	modulesName = "modules"
	// currentName is a symbolic link to the kernel in use.
	currentName = "kernel"
)

// kernel is the folder of one kernel: vmlinux and the modules for the
// initramfs, named in the order to load them.
type kernel struct {
	key, dir string
}

func (k kernel) disk() (Disk, error) { return diskOf(k.key, filepath.Join(k.dir, vmlinuxName)) }

// kernel returns the kernel in use, or makes the one that Debian has now. It
// stays in use until its folder is removed, for a new kernel would make every
// snapshot useless.
func (s *Store) kernel(ctx context.Context, progress Progress) (kernel, error) {
	if key := s.currentKernel(); key != "" {
		return kernel{key, s.path(kindKernel, key)}, nil
	}
	if err := needTools("apt-get", "apt-cache", "dpkg-deb"); err != nil {
		return kernel{}, err
	}
	k, err := s.latestKernel(ctx, progress)
	if errors.Is(err, errDownload) {
		// Lists that are too old name files that are gone.
		if err := updateLists(ctx, progress); err != nil {
			return kernel{}, err
		}
		k, err = s.latestKernel(ctx, progress)
	}
	if err != nil {
		return kernel{}, err
	}
	return k, s.useKernel(k.dir)
}

func (s *Store) latestKernel(ctx context.Context, progress Progress) (kernel, error) {
	progress.say("kernel: asking apt for %s", kernelPackage)
	pkg, d, err := findKernel(ctx, progress)
	if err != nil {
		return kernel{}, fmt.Errorf("find kernel package: %w", err)
	}
	k := key(formatVersion, kindKernel, d.file, d.sha256, strings.Join(guestModules(), " "))
	dir, err := s.build(ctx, kindKernel+"-"+k, progress, func(ctx context.Context, tmp string) (string, error) {
		return s.buildKernel(ctx, pkg, d, tmp, progress)
	})
	return kernel{k, dir}, err
}

// currentKernel returns the key of the kernel in use, "" when there is none.
func (s *Store) currentKernel() string {
	target, err := os.Readlink(filepath.Join(s.dir, currentName))
	if err != nil {
		return ""
	}
	kind, k, ok := parseName(target)
	if !ok || kind != kindKernel {
		return ""
	}
	if _, err := os.Stat(filepath.Join(s.dir, target, vmlinuxName)); err != nil {
		return ""
	}
	return k
}

// useKernel points the link at dir.
func (s *Store) useKernel(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	link := filepath.Join(s.dir, tmpPrefix+currentName)
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("choose kernel: %w", err)
	}
	if err := os.Symlink(filepath.Base(dir), link); err != nil {
		return diskError("choose kernel", err)
	}
	if err := os.Rename(link, filepath.Join(s.dir, currentName)); err != nil {
		return diskError("choose kernel", err)
	}
	return diskError("choose kernel", syncPath(s.dir))
}

func (s *Store) buildKernel(ctx context.Context, pkg string, d deb, tmp string, progress Progress) (string, error) {
	if err := d.download(ctx, pkg, s.cacheDir(), progress); err != nil {
		return "", err
	}
	progress.say("kernel: unpacking %s", d.file)
	unpacked := filepath.Join(tmp, "unpacked")
	unpack := command{name: "dpkg-deb", args: []string{"--extract", filepath.Join(s.cacheDir(), d.file), unpacked}}
	if err := unpack.run(ctx); err != nil {
		return "", err
	}
	release := strings.TrimPrefix(pkg, "linux-image-")
	out := filepath.Join(tmp, "out")
	if err := os.MkdirAll(filepath.Join(out, modulesName), 0o755); err != nil {
		return "", err
	}
	if err := writeVmlinux(filepath.Join(unpacked, "boot", "vmlinuz-"+release), filepath.Join(out, vmlinuxName)); err != nil {
		return "", err
	}
	moduleDir, err := findModules(unpacked, release)
	if err != nil {
		return "", err
	}
	return out, writeModules(moduleDir, filepath.Join(out, modulesName))
}

// findModules allows for /lib being a link to /usr/lib, where newer Debian
// releases put modules.
func findModules(unpacked, release string) (string, error) {
	for _, lib := range []string{"lib", "usr/lib"} {
		dir := filepath.Join(unpacked, lib, "modules", release)
		if _, err := os.Stat(dir); err == nil {
			return dir, nil
		}
	}
	return "", thaw.Errorf(thaw.CodeUnavailable, "the kernel package has no modules for %s", release)
}

func writeVmlinux(from, to string) error {
	if n := fileSize(from); n > maxKernelBytes {
		return fmt.Errorf("kernel has %d bytes: at most %d are accepted", n, maxKernelBytes)
	}
	bz, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read kernel: %w", err)
	}
	b, err := vmlinux(bz)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

func writeModules(from, to string) error {
	mods, err := loadOrder(from, guestModules())
	if err != nil {
		return err
	}
	for i, m := range mods {
		name := fmt.Sprintf("%02d-%s.ko", i, m.name)
		if err := os.WriteFile(filepath.Join(to, name), m.content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
