package daemon

import (
	"context"
	"errors"
	"strings"

	"thaw"
	"thaw/image"
)

// buildContainer makes the images of a version that is made of an OCI image.
func (p *publication) buildContainer(ctx context.Context) (err error) {
	v := &p.record.Version
	var base image.Base
	if p.request.Code != nil {
		base, err = p.newContainer(ctx)
	} else {
		base, err = p.sameContainer(ctx)
	}
	if err != nil {
		return err
	}
	// Its machine has an empty code disk: every machine has two, so that any of those
	// that wait will do.
	disk, err := p.daemon.images.Code(ctx, strings.NewReader(""), v.Settings, p.say)
	if err != nil {
		return err
	}
	v.Images, v.CodeBytes = base.Images(disk.Key), base.Root.Bytes
	return nil
}

// newContainer gets the image that the request names or brings.
func (p *publication) newContainer(ctx context.Context) (b image.Base, err error) {
	im, err := p.daemon.images.OpenContainer(ctx, p.request.Code, *p.request.Settings.Image, p.say)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, im.Close()) }()
	p.record.Version.Container = &im.Container
	if err := p.number(); err != nil {
		return b, err
	}
	p.say("image: " + im.Digest)
	return im.Base(ctx, p.say)
}

// sameContainer uses the image of an earlier version again.
func (p *publication) sameContainer(ctx context.Context) (b image.Base, err error) {
	d, v, r := p.daemon, &p.record.Version, p.request
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
	if err := p.number(); err != nil {
		return b, err
	}
	return d.images.SameRoot(ctx, from.Images.Root, p.say)
}
