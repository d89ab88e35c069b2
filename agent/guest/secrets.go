package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"thaw"
	"thaw/agent/wire"
)

// secretMode lets the function's user read a secret, and nobody write it.
const secretMode = 0o400

// secrets answers Secrets: they are files before the function goes on.
func (a *Agent) secrets(f wire.Frame) error {
	values, err := wire.ParseSecrets(f.Raw)
	if err != nil {
		return err
	}
	var answer wire.Given
	owner := a.cfg.Credential
	if a.fn != nil {
		owner = a.fn.proc.credential
	}
	for _, v := range values {
		if err := keepSecret(a.cfg.SecretsDir, v, owner); err != nil {
			answer.Error = err.Error()
			break
		}
	}
	clear(f.Raw)
	a.link.send(f.Session, &answer, nil)
	return nil
}

// keepSecret writes one, for owner only. Its folder is the agent's own.
func keepSecret(dir string, v thaw.SecretValue, owner *syscall.Credential) error {
	f, err := os.OpenFile(filepath.Join(dir, v.Name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, secretMode)
	if err != nil {
		return fmt.Errorf("keep secret: %w", err)
	}
	defer f.Close()
	if owner != nil {
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("keep secret: %w", err)
		}
	}
	if _, err := f.Write(v.Value); err != nil {
		return fmt.Errorf("keep secret: %w", err)
	}
	return nil
}

// handOver makes the secrets that came before the function those of its user, who may
// be another one than usual.
func handOver(cfg Config, owner *syscall.Credential) error {
	if owner == cfg.Credential {
		return nil
	}
	entries, err := os.ReadDir(cfg.SecretsDir)
	for _, e := range entries {
		err = errors.Join(err, os.Chown(filepath.Join(cfg.SecretsDir, e.Name()), int(owner.Uid), int(owner.Gid)))
	}
	if err != nil {
		return fmt.Errorf("hand over the secrets: %w", err)
	}
	return nil
}
