package oci

import (
	"path"
	"strings"

	"thaw"
)

// Container says how the image wants to be run. One that there is nothing to execute
// of, with what want replaces, is a [thaw.CodeInvalid] error.
func (im *Image) Container(want thaw.ContainerImage) (thaw.Container, error) {
	config := im.Config.Config
	c := thaw.Container{Digest: im.Digest.String(), EntryPoint: config.Entrypoint, Command: config.Cmd, User: config.User}
	for _, l := range im.Layers {
		c.Layers = append(c.Layers, l.Digest.String())
	}
	if err := c.Check(want); err != nil {
		return c, err
	}
	c.WorkingDirectory = path.Clean("/" + config.WorkingDir)
	if len(c.WorkingDirectory) > maxPathLen || len(c.User) > maxPart || strings.ContainsRune(c.WorkingDirectory+c.User, 0) {
		return c, thaw.Errorf(thaw.CodeInvalid, "the image's WORKDIR or USER is not valid")
	}
	var err error
	c.Env, err = parseEnv(config.Env)
	return c, err
}

// parseEnv makes a map of NAME=VALUE, leaving out what is not of that form. The
// last one of a name counts.
func parseEnv(list []string) (map[string]string, error) {
	env, total := map[string]string{}, 0
	for _, entry := range list {
		total += len(entry)
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" && !strings.ContainsRune(entry, 0) {
			env[name] = value
		}
	}
	if total > thaw.MaxContainerEnvBytes {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the environment of the image has %d bytes: at most %d are allowed", total, thaw.MaxContainerEnvBytes)
	}
	return env, nil
}
