package daemon

import (
	"context"
	"strings"

	"thaw"
)

// Secrets describes every secret, by name, with the versions that name it.
func (d *Daemon) Secrets(context.Context) ([]thaw.Secret, error) {
	all, err := d.secrets.List()
	if err != nil || len(all) == 0 {
		return all, err
	}
	users, err := d.secretUsers()
	for i := range all {
		all[i].Users = append(all[i].Users, users[all[i].Name]...)
	}
	return all, err
}

// secretUsers returns the versions that name a secret, by its name.
func (d *Daemon) secretUsers() (map[string][]string, error) {
	versions, err := d.registry.All()
	if err != nil {
		return nil, err
	}
	users := map[string][]string{}
	for _, v := range versions {
		for _, name := range v.Secrets {
			users[name] = append(users[name], keyOf(v))
		}
	}
	return users, nil
}

// SetSecret stores a secret in place of one with its name. Instances that have the one
// before end, idle ones now and busy ones with their invocation.
func (d *Daemon) SetSecret(_ context.Context, v thaw.SecretValue) (thaw.Secret, error) {
	if err := d.secrets.Set(v); err != nil {
		return thaw.Secret{}, err
	}
	s, err := d.secrets.Get(v.Name)
	if err != nil {
		return s, err
	}
	versions, err := d.registry.All()
	for _, u := range versions {
		if u.UsesSecret(v.Name) {
			s.Users = append(s.Users, keyOf(u))
			d.pool.Retire(u.Function, u.Number)
		}
	}
	d.log.Info("a secret is set", "secret", v.Name, "users", len(s.Users))
	return s, err
}

// namedUsers is how many users of a secret a message names.
const namedUsers = 3

// RemoveSecret deletes the secret called name, which no version may name.
func (d *Daemon) RemoveSecret(_ context.Context, name string) error {
	if err := d.secrets.Check(name); err != nil {
		return err
	}
	// A version that is being made holds this for reading until the registry has it.
	if !d.imageUse.TryLock() {
		return thaw.Errorf(thaw.CodeConflict, "a version that is being made may name secret %s: wait for the deploy to end", name)
	}
	defer d.imageUse.Unlock()
	users, err := d.secretUsers()
	if err != nil {
		return err
	}
	if by := users[name]; len(by) > 0 {
		some := strings.Join(by[:min(len(by), namedUsers)], ", ")
		return thaw.Errorf(thaw.CodeConflict, "secret %s is named by %d versions (%s): remove these first, or deploy them without it", name, len(by), some)
	}
	if err := d.secrets.Remove(name); err != nil {
		return err
	}
	d.log.Info("a secret is removed", "secret", name)
	return nil
}

// checkSecrets refuses names of which there is no secret.
func (d *Daemon) checkSecrets(names []string) error {
	for _, name := range names {
		err := d.secrets.Check(name)
		if thaw.CodeOf(err) == thaw.CodeNotFound {
			return thaw.Errorf(thaw.CodeInvalid, "the function names a secret that is not there: %w", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
