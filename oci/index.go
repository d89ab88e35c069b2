package oci

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"thaw"
)

// maxDepth is how deep indexes may be nested. Two levels are usual in a layout.
const maxDepth = 4

// annotationName is where a layout keeps an image's tag or whole name (OCI image
// specification, "Pre-Defined Annotation Keys"), annotationWhole is containerd's
// for the latter.
const (
	annotationName  = "org.opencontainers.image.ref.name"
	annotationWhole = "io.containerd.image.name"
)

// resolve follows indexes from a document to the image for this platform.
func resolve(ctx context.Context, from source, d document) (*Image, error) {
	for range maxDepth {
		switch {
		case d.MediaType.IsImage():
			return load(ctx, from, d)
		case !d.MediaType.IsIndex():
			return nil, thaw.Errorf(thaw.CodeInvalid, "it is no image but %.100q", d.MediaType)
		}
		index, err := v1.ParseIndexManifest(bytes.NewReader(d.raw))
		if err != nil {
			return nil, thaw.Errorf(thaw.CodeInvalid, "the index of the image cannot be read: %w", err)
		}
		next, err := pick(index.Manifests)
		if err != nil {
			return nil, err
		}
		if d, err = readDocument(next, func() (io.ReadCloser, error) { return from.manifest(ctx, next) }); err != nil {
			return nil, err
		}
	}
	return nil, thaw.Errorf(thaw.CodeInvalid, "the indexes of the image are nested deeper than %d", maxDepth)
}

// isOurs reports whether a guest can run programs for p.
func isOurs(p v1.Platform) bool {
	return p.OS == "linux" && p.Architecture == "amd64" && (p.Variant == "" || p.Variant == "v1")
}

// pick chooses the image for this platform. One that does not say which it is for
// is looked at later, if there is no other.
func pick(all []v1.Descriptor) (v1.Descriptor, error) {
	var ours, silent []v1.Descriptor
	var others []v1.Platform
	for _, d := range all {
		switch {
		case !d.MediaType.IsImage() && !d.MediaType.IsIndex():
		case d.Platform == nil:
			silent = append(silent, d)
		case isOurs(*d.Platform):
			ours = append(ours, d)
		case d.Platform.OS != "unknown": // attestations are
			others = append(others, *d.Platform)
		}
	}
	if len(ours) == 0 {
		ours = silent
	}
	switch same := distinct(ours); {
	case len(same) == 1:
		return same[0], nil
	case len(same) > 1:
		return v1.Descriptor{}, thaw.Errorf(thaw.CodeInvalid, "there are %d images: name one by its tag: %s", len(same), strings.Join(tags(same), ", "))
	}
	return v1.Descriptor{}, wrongPlatform(others)
}

// distinct drops what is there again, under another tag.
func distinct(all []v1.Descriptor) []v1.Descriptor {
	seen := map[v1.Hash]v1.Descriptor{}
	for _, d := range all {
		if _, again := seen[d.Digest]; !again {
			seen[d.Digest] = d
		}
	}
	return slices.SortedFunc(maps.Values(seen), func(a, b v1.Descriptor) int { return strings.Compare(nameOf(a), nameOf(b)) })
}

func wrongPlatform(have []v1.Platform) error {
	var names []string
	for _, p := range have {
		names = append(names, p.String())
	}
	if len(names) == 0 {
		return thaw.Errorf(thaw.CodeInvalid, "there is no image in it")
	}
	return thaw.Errorf(thaw.CodeInvalid, "the image is for %.200s: guests run linux/amd64, build it with --platform linux/amd64", strings.Join(names, ", "))
}

// nameOf is the name that a layout gives an image, "" if none.
func nameOf(d v1.Descriptor) string {
	if name := d.Annotations[annotationWhole]; name != "" {
		return name
	}
	return d.Annotations[annotationName]
}

func tags(all []v1.Descriptor) []string {
	var names []string
	for _, d := range all {
		if name := nameOf(d); name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{"none has one"}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// tagged picks what a layout calls tag, by its whole name or by its end.
func tagged(all []v1.Descriptor, tag string) ([]v1.Descriptor, error) {
	var found []v1.Descriptor
	for _, d := range all {
		for _, name := range []string{d.Annotations[annotationName], d.Annotations[annotationWhole]} {
			if name == tag || strings.HasSuffix(name, ":"+tag) {
				found = append(found, d)
				break
			}
		}
	}
	if len(found) == 0 {
		return nil, thaw.Errorf(thaw.CodeInvalid, "there is no image called %.100q: there is %s", tag, strings.Join(tags(all), ", "))
	}
	return found, nil
}
