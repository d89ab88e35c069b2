package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"thaw"
)

// maker makes the snapshot of one peer.
type maker func(ctx context.Context) (*entry, error)

// makers are those of all peers. Two of them share a tree.
func makers(o Options, w *work, d thaw.Description) map[string]maker {
	var shared *tree
	share := func(ctx context.Context) (_ *tree, err error) {
		if shared == nil {
			shared, err = newTree(ctx, w, d)
		}
		return shared, err
	}
	return map[string]maker{
		GVisor: func(ctx context.Context) (*entry, error) { return makeGVisor(ctx, o, w, share) },
		CRIU:   func(ctx context.Context) (*entry, error) { return makeCRIU(ctx, o, w, share) },
		QEMU:   func(ctx context.Context) (*entry, error) { return makeQEMU(ctx, w, d) },
	}
}

func makeGVisor(ctx context.Context, o Options, w *work, share func(context.Context) (*tree, error)) (*entry, error) {
	runsc, err := findRunsc(ctx, o)
	if err != nil {
		return nil, err
	}
	version, err := versionOf(ctx, runsc)
	if err != nil {
		return nil, err
	}
	t, err := share(ctx)
	if err != nil {
		return nil, err
	}
	g, err := newGVisor(ctx, runsc, w, t)
	if err != nil {
		return nil, err
	}
	return newEntry(g, version, g.images)
}

func makeCRIU(ctx context.Context, o Options, w *work, share func(context.Context) (*tree, error)) (*entry, error) {
	program, err := findCriu(ctx, o.Criu)
	if err != nil {
		return nil, err
	}
	version, err := versionOf(ctx, program)
	if err != nil {
		return nil, err
	}
	t, err := share(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newCRIU(ctx, program, w, t)
	if err != nil {
		return nil, err
	}
	return newEntry(c, "criu "+strings.TrimPrefix(version, "Version: "), c.names)
}

func makeQEMU(ctx context.Context, w *work, d thaw.Description) (*entry, error) {
	q, err := newPlain(ctx, w, d)
	if err != nil {
		return nil, err
	}
	version, err := q.driver.Version(ctx)
	if err != nil {
		return nil, err
	}
	return newEntry(q, "qemu "+version, []string{q.stream})
}

// newEntry is of a restorer whose snapshot is in the files snapshot.
func newEntry(r restorer, version string, snapshot []string) (*entry, error) {
	size, err := occupied(snapshot)
	return &entry{Peer{Version: version, SnapshotBytes: size}, r}, err
}

// oneLine writes JSON on one line.
func oneLine(event []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, event); err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the event is not JSON: %w", err)
	}
	return b.Bytes(), nil
}
