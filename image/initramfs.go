package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/u-root/u-root/pkg/cpio"
)

// initramfs returns the first root of the guest for a kernel: the agent as
// /init, the modules it loads and the folders it mounts on. It is not
// compressed: for these few MB zstd made no difference to an emulated boot that
// could be told from noise.
func (s *Store) initramfs(ctx context.Context, k kernel) (Disk, error) {
	ikey := key(formatVersion, kindInitramfs, k.key, string(s.agent))
	path, err := s.build(ctx, filepath.Base(s.path(kindInitramfs, ikey)), nil, func(_ context.Context, tmp string) (string, error) {
		out := filepath.Join(tmp, "initramfs")
		return out, s.writeInitramfs(out, filepath.Join(k.dir, modulesName))
	})
	if err != nil {
		return Disk{}, err
	}
	return diskOf(ikey, path)
}

func (s *Store) writeInitramfs(path, modules string) (err error) {
	records, err := moduleRecords(modules)
	if err != nil {
		return err
	}
	records = append(initRecords(s.agent), records...)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := bufio.NewWriter(f)
	w := cpio.Newc.Writer(buf)
	for i, r := range records {
		r = cpio.MakeReproducible(r)
		r.Ino = uint64(i + 1) // equal numbers would be hard links
		if err := w.WriteRecord(r); err != nil {
			return fmt.Errorf("write initramfs: %w", err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return buf.Flush()
}

// initRecords are the agent and the folders it needs before it has a root disk.
func initRecords(agent []byte) []cpio.Record {
	records := []cpio.Record{}
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "mnt", "etc", modulesName} {
		records = append(records, cpio.Directory(dir, 0o755))
	}
	return append(records,
		cpio.CharDev("dev/console", 0o600, 5, 1), // Linux, Documentation/admin-guide/devices.txt
		cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.StaticFile("init", string(agent), 0o755),
	)
}

// moduleRecords reads the modules of a kernel folder; their names order them.
func moduleRecords(dir string) ([]cpio.Record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	var records []cpio.Record
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read module: %w", err)
		}
		records = append(records, cpio.StaticFile(modulesName+"/"+e.Name(), string(b), 0o644))
	}
	return records, nil
}
