package project

import (
	"thaw"
	"thaw/internal/strictyaml"
)

func readConcurrency(p *Project, v strictyaml.Value) (err error) {
	p.Settings.Concurrency, err = positive(v)
	return err
}

func readMinScale(p *Project, v strictyaml.Value) (err error) {
	p.Settings.MinScale, err = v.Int()
	return err
}

func readMaxScale(p *Project, v strictyaml.Value) (err error) {
	p.Settings.MaxScale, err = positive(v)
	return err
}

func readIdleTimeout(p *Project, v strictyaml.Value) (err error) {
	p.Settings.IdleTimeout, err = v.Duration()
	if err == nil && p.Settings.IdleTimeout == 0 { // which means the default
		err = v.Errorf("0 is out of range: choose %s to %s", thaw.MinIdleTimeout, thaw.MaxIdleTimeout)
	}
	return err
}

func readKeepAlive(p *Project, v strictyaml.Value) error {
	text, err := nonEmpty(v)
	p.Settings.KeepAlive = thaw.KeepAlive(text)
	return err
}

// positive reads a number that cannot be 0: that would mean the default.
func positive(v strictyaml.Value) (int, error) {
	n, err := v.Int()
	if err == nil && n == 0 {
		err = v.Errorf("0 is out of range: choose 1 or more")
	}
	return n, err
}
