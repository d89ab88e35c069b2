package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"thaw"
)

// deb is a package as apt would download it.
type deb struct {
	file   string
	bytes  int64
	sha256 string
}

var (
	dependsRule = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-[a-z0-9.+-]+)$`)
	// uriRule is a line of apt-get --print-uris: 'URI' FILE SIZE HASH.
	uriRule = regexp.MustCompile(`(?m)^'[^']*' ([A-Za-z0-9.+~_%-]+\.deb) (\d{1,12}) SHA256:([0-9a-f]{64})\s*$`)
)

// findKernel asks apt which package the kernel package stands for now, and
// updates apt's lists only if they do not know it.
func findKernel(ctx context.Context, progress Progress) (pkg string, d deb, err error) {
	if pkg, d, err = askKernel(ctx); err == nil || ctx.Err() != nil {
		return pkg, d, err
	}
	if uerr := updateLists(ctx, progress); uerr != nil {
		return "", deb{}, errors.Join(err, uerr)
	}
	return askKernel(ctx)
}

func updateLists(ctx context.Context, progress Progress) error {
	progress.say("kernel: updating the package lists (apt-get update)")
	return networkError(command{name: "apt-get", args: []string{"-q", "update"}}.run(ctx))
}

// errDownload marks the failure of a command that downloads.
var errDownload = errors.New("download packages")

// networkError says what to do about the failure of a command that downloads.
func networkError(err error) error {
	if err == nil || isCancelled(err) || thaw.CodeOf(err) != thaw.CodeInternal {
		return err
	}
	return thaw.Errorf(thaw.CodeUnavailable, "%w failed: check the machine's network and apt sources and try again; what has arrived is kept: %w", errDownload, err)
}

// kernelPackage is Debian's small kernel for virtual machines.
const kernelPackage = "linux-image-cloud-amd64"

func askKernel(ctx context.Context) (string, deb, error) {
	out, err := command{name: "apt-cache", args: []string{"depends", kernelPackage}}.output(ctx)
	if err != nil {
		return "", deb{}, err
	}
	m := dependsRule.FindStringSubmatch(out)
	if m == nil {
		return "", deb{}, thaw.Errorf(thaw.CodeUnavailable, "apt knows no package that %s depends on: run `apt-get update` and check that the apt sources are Debian's", kernelPackage)
	}
	out, err = command{name: "apt-get", args: []string{"--print-uris", "download", m[1]}}.output(ctx)
	if err != nil {
		return "", deb{}, err
	}
	d, err := parseURI(out)
	return m[1], d, err
}

func parseURI(out string) (deb, error) {
	m := uriRule.FindStringSubmatch(out)
	if m == nil {
		return deb{}, fmt.Errorf("apt-get --print-uris names no package with a SHA-256")
	}
	size, err := strconv.ParseInt(m[2], 10, 64)
	if err != nil {
		return deb{}, fmt.Errorf("read size of %s: %w", m[1], err)
	}
	return deb{m[1], size, m[3]}, nil
}

// download fetches a package into dir, unless it is there; apt checks it either
// way.
func (d deb) download(ctx context.Context, pkg, dir string, progress Progress) error {
	path := filepath.Join(dir, d.file)
	stop := heartbeat(ctx, func() {
		progress.say("kernel: downloading %s: %s", d.file, percent(fileSize(path), d.bytes))
	})
	defer stop()
	progress.say("kernel: downloading %s (%s)", d.file, megabytes(d.bytes))
	return networkError(command{name: "apt-get", args: []string{"-q", "download", pkg}, dir: dir}.run(ctx))
}

// heartbeatEvery is how often a download says how far it is.
const heartbeatEvery = 2 * time.Second

// heartbeat calls f every two seconds until stop is called or ctx ends. After
// stop returns, f is not called again.
func heartbeat(ctx context.Context, f func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(heartbeatEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f()
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// fileSize is 0 for a file that is not there.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func percent(have, total int64) string {
	if total <= 0 {
		return megabytes(have)
	}
	return fmt.Sprintf("%d %% of %s", have*100/total, megabytes(total))
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// archives is where apt keeps packages below a root folder (apt.conf(5),
// Dir::Cache::Archives).
const archives = "var/cache/apt/archives"

// harvest moves the whole packages that a build in tmp has downloaded into the
// cache, so that the next build need not fetch them again. apt puts a package
// under its name only after it has checked it, and checks it again before use.
func (s *Store) harvest(tmp string) error {
	for _, pattern := range []string{"*.deb", "*/*.deb"} {
		debs, err := filepath.Glob(filepath.Join(tmp, "*", archives, pattern))
		if err != nil {
			return fmt.Errorf("look for downloaded packages: %w", err)
		}
		for _, d := range debs {
			rel := strings.SplitAfter(d, archives)[1]
			if err := moveFile(d, filepath.Join(s.archives(), rel)); err != nil {
				return fmt.Errorf("keep downloaded package: %w", err)
			}
		}
	}
	return nil
}

// archives mirrors the folder of the same name in a root being built.
func (s *Store) archives() string { return filepath.Join(s.cacheDir(), "archives") }

func moveFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
