package daemon

import (
	"context"
	"errors"
	"strings"

	"thaw"
	"thaw/image"
)

// buildContainer makes v of an OCI image. numbered is called when it is known which.
func (d *Daemon) buildContainer(ctx context.Context, v *thaw.Version, r thaw.PublishRequest, p *progress, numbered func(*thaw.Version) error) (err error) {
	var base image.Base
	if r.Code != nil {
		base, err = d.newContainer(ctx, v, r, p, numbered)
	} else {
		base, err = d.sameContainer(ctx, v, r, p, numbered)
	}
	if err != nil {
		return err
	}
	// Its machine has an empty code disk: every machine has two, so that any of those
	// that wait will do.
	disk, err := d.images.Code(ctx, strings.NewReader(""), v.Settings, p.say)
	v.Images, v.CodeBytes = base.Images(disk.Key), base.Root.Bytes
	return err
}

// newContainer gets the image that r names or brings.
func (d *Daemon) newContainer(ctx context.Context, v *thaw.Version, r thaw.PublishRequest, p *progress, numbered func(*thaw.Version) error) (b image.Base, err error) {
	im, err := d.images.OpenContainer(ctx, r.Code, *r.Settings.Image, p.say)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, im.Close()) }()
	v.Container = &im.Container
	if err := numbered(v); err != nil {
		return b, err
	}
	p.say("image: " + im.Digest)
	return im.Base(ctx, p.say)
}

// sameContainer uses the image of an earlier version again.
func (d *Daemon) sameContainer(ctx context.Context, v *thaw.Version, r thaw.PublishRequest, p *progress, numbered func(*thaw.Version) error) (b image.Base, err error) {
	from, err := d.find(r.From)
	if err != nil {
		return b, err
	}
	if from.Container == nil {
		return b, thaw.Errorf(thaw.CodeInvalid, "%s is no image", r.From)
	}
	if err := from.Container.Check(*r.Settings.Image); err != nil {
		return b, err
	}
	v.Container, v.CodeBytes = from.Container, from.CodeBytes
	if err := numbered(v); err != nil {
		return b, err
	}
	return d.images.SameRoot(ctx, from.Images.Root, p.say)
}
