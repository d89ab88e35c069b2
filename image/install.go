package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"thaw"
)

const (
	// installTime is how long installing may take.
	installTime = 10 * time.Minute
	// maxInstall bounds what is on the disk meanwhile, archives and temporary files
	// included.
	maxInstall = 1 << 30
	// beginOfTool and endOfTool are how many lines of the tool's output an error
	// shows: npm says first what is wrong, pip says it last.
	beginOfTool = 8
	endOfTool   = 12
)

// The folders of an installation, as the tool sees them.
const (
	installDir  = "/build"
	installHome = installDir + "/home"
	installTmp  = installDir + "/tmp"
	installApp  = installDir + "/app" // the lists
	installOut  = installDir + "/out" // what is installed, in the folder of its name
)

// The folders of an installation, as the host sees them, in one of its own.
const (
	baseDir = "base" // laid over the tools' tree
	workDir = "work" // the tool's /build
)

// sandbox executes a tool that talks to strangers: $1, as a script. Its root is
// the folder base over the folder $TOOLS, read-only but for work on /build. It is in
// namespaces of its own, but for the network's; it is no user of the host, has no
// capabilities and can gain none, as setuid programs count for nothing. When it ends,
// so does all that it has started. Layers have relative paths, which need no quoting.
const sandbox = `set -eu
mkdir tools root
mount --bind "$TOOLS" tools
mount -t overlay -o lowerdir=` + baseDir + `:tools overlay root
root="$PWD/root"
mount -t tmpfs -o mode=0755,size=64k,nosuid,noexec tmpfs "$root/dev"
for d in null zero full random urandom; do
	: > "$root/dev/$d"
	mount --bind "/dev/$d" "$root/dev/$d"
done
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --bind ` + workDir + ` "$root` + installDir + `"
mount -o remount,bind,nosuid,nodev "$root` + installDir + `"
mount -o remount,bind,ro,nosuid,nodev "$root"
ulimit -c 0
unset TOOLS
exec chroot "$root" setpriv --reuid=` + sandboxID + ` --regid=` + sandboxID + ` --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
	sh -euc "$1"`

// sandboxID is [SandboxID] as text.
const sandboxID = "993"

// script is what is executed in the sandbox. Nothing of the code's is part of it.
func (d wanted) script() string {
	if d.runtime == thaw.RuntimeNode {
		return d.npmScript()
	}
	return d.pipScript()
}

// pipScript installs, then compiles in a way that does not look at the time of the
// source, as compileHook does.
func (d wanted) pipScript() string {
	install := "python3 -m pip install --no-input --no-cache-dir --disable-pip-version-check --progress-bar=off --no-warn-script-location --no-compile"
	if !d.scripts {
		install += " --only-binary=:all:"
	}
	if hashed(d.lists[requirementsName]) {
		install += " --require-hashes"
	}
	target := installOut + "/" + PythonPackages
	return fmt.Sprintf("%s --target=%s --requirement=%s/%s\npython3 -m compileall -q -f --invalidation-mode unchecked-hash -s %s -p /var/task %s || [ $? -eq 1 ]",
		install, target, installApp, requirementsName, installOut, target)
}

// npmScript keeps to the lock if there is one.
func (d wanted) npmScript() string {
	verb := "install"
	if d.lists[lockName] != nil {
		verb = "ci"
	}
	flags := " --omit=dev --no-audit --no-fund --no-update-notifier --loglevel=error"
	if !d.scripts {
		flags += " --ignore-scripts"
	}
	return fmt.Sprintf("cd %s\nnpm %s%s\nmv %s %s/", installApp, verb, flags, nodeModules, installOut)
}

// install installs d in the folder tmp with the tools of a tree, and returns the tar file that came of it.
func (s *Store) install(ctx context.Context, d wanted, tools, tmp string, progress Progress) (string, error) {
	settings := registrySettings(os.Environ(), readConfig)
	if err := prepare(tmp, d, settings); err != nil {
		return "", fmt.Errorf("prepare to install: %w", err)
	}
	if err := s.runTool(ctx, d, tools, tmp, settings, progress); err != nil {
		return "", err
	}
	tarball := filepath.Join(tmp, "installed.tar")
	if err := packInstalled(inWork(tmp, installOut), tarball); err != nil {
		return "", err
	}
	return tarball, nil
}

// prepare makes the folders of an installation in dir.
func prepare(dir string, d wanted, settings registries) error {
	base, work := filepath.Join(dir, baseDir), filepath.Join(dir, workDir)
	return errors.Join(os.Mkdir(base, 0o755), os.Mkdir(work, 0o755), prepareBase(base, settings), prepareWork(dir, d, settings))
}

// prepareBase writes what makes a Debian tree a root where names are resolved as on the
// host, with the host's certificates.
func prepareBase(root string, settings registries) error {
	if err := writeBase(root); err != nil {
		return err
	}
	for _, path := range append(settings.files, "/etc/resolv.conf", "/etc/hosts", certificates) {
		content, err := readBounded(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = writeInside(root, path, content, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(root, installDir), 0o755)
}

// prepareWork makes the folder that the tool may write to.
func prepareWork(tmp string, d wanted, settings registries) error {
	files := map[string][]byte{filepath.Join(installHome, ".npmrc"): []byte(settings.npmrc)}
	for name, content := range d.lists {
		files[filepath.Join(installApp, name)] = content
	}
	for _, dir := range []string{installHome, installTmp, installApp, installOut} {
		if err := os.Mkdir(inWork(tmp, dir), 0o700); err != nil {
			return err
		}
	}
	for path, content := range files {
		if err := os.WriteFile(inWork(tmp, path), content, 0o600); err != nil {
			return err
		}
	}
	return filepath.WalkDir(inWork(tmp, installDir), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, SandboxID, SandboxID))
	})
}

// inWork is where the host has a path of the tool's.
func inWork(tmp, path string) string {
	return filepath.Join(tmp, workDir, strings.TrimPrefix(path, installDir))
}

// runTool runs the script. What the tool says last is what a user can act on.
func (s *Store) runTool(ctx context.Context, d wanted, tools, tmp string, settings registries, progress Progress) error {
	if err := errors.Join(needRoot(), needTools("unshare", "mount", "chroot")); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, installTime, thaw.Errorf(thaw.CodeInvalid, "%s was not done after %s: ask for fewer packages", d.tool(), installTime))
	defer stop()
	start := time.Now()
	progress.say("%s: installing %s", d.tool(), d.names())
	defer heartbeat(ctx, func() {
		n := folderSize(inWork(tmp, installDir))
		if n > maxInstall {
			cancel(thaw.Errorf(thaw.CodeTooLarge, "%s needs more than %d MiB to install: ask for fewer packages", d.tool(), maxInstall>>20))
		}
		progress.say("%s: %s, %d s", d.tool(), megabytes(n), int(time.Since(start).Seconds()))
	})()
	var said []string
	c := sandboxed(tools, tmp, d.script(), settings.env)
	c.line = func(text string) {
		said = remember(said, text)
		if words := strings.Fields(text); len(words) > 1 && (words[0] == "Collecting" || words[0] == "Downloading" || words[0] == "Installing") {
			progress.say("%s: %.200s", d.tool(), text)
		}
	}
	if err := c.run(ctx); err != nil {
		return d.explain(ctx, err, said)
	}
	progress.say("%s: installed %s in %.1f s", d.tool(), megabytes(folderSize(inWork(tmp, installOut))), time.Since(start).Seconds())
	return nil
}

// remember keeps the first and the last lines.
func remember(said []string, text string) []string {
	if said = append(said, text); len(said) > beginOfTool+endOfTool {
		said = slices.Delete(said, beginOfTool, beginOfTool+1)
	}
	return said
}

// sandboxed is a command that executes a script in the sandbox, with the tools of a tree
// and what is prepared in the folder tmp.
func sandboxed(tools, tmp, script string, env []string) command {
	return command{
		name:   "unshare",
		args:   []string{"--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--", "sh", "-c", sandbox, "sh", script},
		dir:    tmp,
		abrupt: true,
		only:   append(slices.Clone(env), "TOOLS="+tools, "HOME="+installHome, "TMPDIR="+installTmp, "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
	}
}

// names are the lists that d holds, for people.
func (d wanted) names() string {
	switch {
	case d.runtime == thaw.RuntimePython:
		return requirementsName
	case d.lists[lockName] != nil:
		return lockName
	}
	return packageName + " (without a lock: whatever is newest)"
}

func (d wanted) explain(ctx context.Context, err error, said []string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(said) == 0 {
		return fmt.Errorf("run %s: %w", d.tool(), err)
	}
	hint := ""
	if text := strings.Join(said, "\n"); strings.Contains(text, "No matching distribution") && !d.scripts {
		hint = "\nPackages that are not built yet (no wheel) are installed with --install-scripts only, which has them execute code of theirs."
	}
	return thaw.Errorf(thaw.CodeInvalid, "%s could not install %s:\n%s%s", d.tool(), d.names(), strings.Join(said, "\n"), hint)
}

// folderSize adds up the files below dir, as far as they are there.
func folderSize(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // somebody works in there
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// packInstalled packs what strangers have written as [PackFS] does, caches included,
// which are compiled files here.
func packInstalled(dir, tarball string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	f, err := os.Create(tarball)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return packAll(root.FS(), f, func(_, name string) bool { return name == ".package-lock.json" })
}
