package main

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/oci"
)

// imageFlags say which image a function is, and what of it is replaced.
type imageFlags struct {
	reference, workdir  string
	entrypoint, command []string
	insecure            bool
}

func (f *imageFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.reference, "image", "", "make it from the OCI image `REF`")
	flags.StringArrayVar(&f.entrypoint, "entrypoint", nil, "a `word` of what is executed instead of the image's ENTRYPOINT, may be repeated")
	flags.StringArrayVar(&f.command, "cmd", nil, "a `word` that follows it instead of the image's CMD, may be repeated")
	flags.StringVar(&f.workdir, "workdir", "", "`folder` it is executed in instead of the image's WORKDIR")
	flags.BoolVar(&f.insecure, "insecure", false, "pull the image without TLS")
}

// override puts what the flags say into s.
func (f imageFlags) override(given func(string) bool, s *thaw.Settings) error {
	if given("image") {
		s.Image = &thaw.ContainerImage{Reference: f.reference}
	}
	if s.Image == nil {
		for _, name := range []string{"entrypoint", "cmd", "workdir", "insecure"} {
			if given(name) {
				return thaw.Errorf(thaw.CodeInvalid, "--%s is for images: name one with --image", name)
			}
		}
		return nil
	}
	overrideIf(given("entrypoint"), &s.Image.EntryPoint, f.entrypoint)
	overrideIf(given("cmd"), &s.Image.Command, f.command)
	overrideIf(given("workdir"), &s.Image.WorkingDirectory, f.workdir)
	overrideIf(given("insecure"), &s.Image.Insecure, f.insecure)
	s.Image.Uploaded = oci.IsLocal(s.Image.Reference)
	return nil
}

// imageCode streams an image that is on this disk; of one in a registry there is
// nothing to send. Closing the stream ends the goroutine that writes it.
func imageCode(ctx context.Context, im thaw.ContainerImage) (io.ReadCloser, error) {
	if !im.Uploaded {
		if _, err := oci.ParseRemote(im.Reference, im.Insecure); err != nil {
			return nil, err
		}
		return io.NopCloser(strings.NewReader("")), nil
	}
	found, err := oci.OpenLocal(ctx, im.Reference)
	if err != nil {
		return nil, err
	}
	if _, err := found.Container(im); err != nil {
		return nil, errors.Join(err, found.Close())
	}
	r, w := io.Pipe()
	go func() {
		err := found.Write(ctx, w)
		w.CloseWithError(errors.Join(err, found.Close())) // always returns nil
	}()
	return r, nil
}

// containerFields say which image a version is, if it is one, and how it is run.
func containerFields(v thaw.Version) [][2]string {
	if v.Image == nil || v.Container == nil {
		return nil
	}
	c := v.Container
	return [][2]string{
		{"image", printable(v.Image.Reference)},
		{"", c.Digest},
		{"command", printable(shellWords(c.Argv(*v.Image)) + ", in " + c.Directory(*v.Image))},
	}
}

// shellWords shows a command as one would type it.
func shellWords(argv []string) string {
	words := make([]string, 0, len(argv))
	for _, w := range argv {
		if w == "" || strings.ContainsAny(w, " \t\n\"'$\\;|&<>()*?`") {
			w = strconv.Quote(w)
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}
