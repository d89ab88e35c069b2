package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"thaw"
)

// gvisor restores a container that runsc checkpointed.
type gvisor struct {
	runsc  string
	work   *work
	tree   *tree
	bundle string
	images []string // the checkpoint's files
	starts int
}

// The folders of a gvisor in a work folder. runsc's state is below the first.
const (
	runscState  = "gvisor-state"
	runscBundle = "gvisor-bundle"
	runscImage  = "gvisor-image"
)

// newGVisor has runsc checkpoint the function of t.
func newGVisor(ctx context.Context, runsc string, w *work, t *tree) (_ *gvisor, err error) {
	g := &gvisor{runsc: runsc, work: w, tree: t}
	for _, name := range []string{runscState, runscImage} {
		if _, err := w.folder(name); err != nil {
			return nil, err
		}
	}
	if g.bundle, err = w.folder(runscBundle); err != nil {
		return nil, err
	}
	if err := g.writeBundle(); err != nil {
		return nil, err
	}
	if err := g.checkpoint(ctx); err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "runsc cannot checkpoint the function on this machine: %w", err)
	}
	g.images, err = filesBelow(w.path(runscImage))
	return g, err
}

// command is one of runsc.
func (g *gvisor) command(args ...string) *exec.Cmd {
	return exec.Command(g.runsc, append([]string{
		"--root=" + g.work.path(runscState), "--platform=systrap", "--network=none", "--ignore-cgroups", "--overlay2=none",
	}, args...)...)
}

// checkpoint runs the function once, until it is initialised.
func (g *gvisor) checkpoint(ctx context.Context) (err error) {
	const id = "checkpointed"
	p, err := startPiped(g.command("run", "--bundle="+g.bundle, id))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close(), g.delete(id)) }()
	if err := p.ready(ctx); err != nil {
		return err
	}
	return run(ctx, g.command("checkpoint", "--image-path="+g.work.path(runscImage), "--exclude-committed-zero-pages", id))
}

// delete removes what runsc knows of a container, whose processes have ended.
func (g *gvisor) delete(id string) error {
	return run(context.Background(), g.command("delete", "--force", id))
}

func (g *gvisor) files() []string {
	return append(g.images[:len(g.images):len(g.images)], g.tree.names...)
}

func (g *gvisor) restore(ctx context.Context, event []byte) (*answer, error) {
	g.starts++
	id := fmt.Sprintf("restored-%d", g.starts)
	p, err := startPiped(g.command("restore", "--image-path="+g.work.path(runscImage), "--bundle="+g.bundle, id))
	if err != nil {
		return nil, err
	}
	end := func() error { return errors.Join(p.Close(), g.delete(id)) }
	reply, err := p.ask(ctx, event)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return &answer{reply: reply, end: end}, nil
}

// writeBundle writes what the container is (OCI runtime specification, config.md).
func (g *gvisor) writeBundle() error {
	type object map[string]any
	var namespaces []object
	for _, kind := range []string{"pid", "network", "ipc", "uts", "mount"} {
		namespaces = append(namespaces, object{"type": kind})
	}
	b, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"process": object{
			"user": object{"uid": user, "gid": user}, "args": []string{python, servePath}, "env": g.tree.env, "cwd": "/",
		},
		"root": object{"path": g.tree.root, "readonly": true},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
			{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
		},
		"linux": object{"namespaces": namespaces},
	})
	if err != nil {
		return fmt.Errorf("write the container's specification: %w", err)
	}
	return os.WriteFile(filepath.Join(g.bundle, "config.json"), b, 0o644)
}
