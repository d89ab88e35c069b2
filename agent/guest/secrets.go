package guest

import (
	"fmt"
	"os"
	"path/filepath"

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
	for _, v := range values {
		if err := a.keepSecret(v); err != nil {
			answer.Error = err.Error()
			break
		}
	}
	clear(f.Raw)
	a.link.send(f.Session, &answer, nil)
	return nil
}

// keepSecret writes one, for the function's user only. Its folder is the agent's own.
func (a *Agent) keepSecret(v thaw.SecretValue) error {
	f, err := os.OpenFile(filepath.Join(a.cfg.SecretsDir, v.Name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, secretMode)
	if err != nil {
		return fmt.Errorf("keep secret: %w", err)
	}
	defer f.Close()
	if c := a.cfg.Credential; c != nil {
		if err := f.Chown(int(c.Uid), int(c.Gid)); err != nil {
			return fmt.Errorf("keep secret: %w", err)
		}
	}
	if _, err := f.Write(v.Value); err != nil {
		return fmt.Errorf("keep secret: %w", err)
	}
	return nil
}
