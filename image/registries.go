package image

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// certificates are where Debian has those that its programs trust.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// maxConfig bounds a file of settings, or of certificates.
const maxConfig = 16 << 20

// registries are the machine's settings of where packages come from: indexes, proxies,
// certificates. They are the daemon's, as it was started, and no code's.
type registries struct {
	// env is the environment of the installer.
	env []string
	// npmrc is the text of its .npmrc, which may hold passwords.
	npmrc string
	// files are those that the settings name, by absolute paths.
	files []string
}

// registrySettings picks them out of an environment and of the configuration files,
// whose contents read returns, "" where there is none. The environment is stronger.
func registrySettings(environ []string, read func(path string) string) registries {
	env := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	r := registries{}
	given := map[string]string{}
	for _, path := range pipFiles(env) {
		for name, value := range pipSettings(read(path)) {
			given["PIP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = value
		}
	}
	for name, value := range env {
		if passedOn(name) {
			given[name] = value
		}
	}
	for _, path := range npmFiles(env) {
		r.npmrc += npmSettings(read(path), func(name string) string { return env[name] })
	}
	for name, value := range given {
		r.env = append(r.env, name+"="+value)
		r.files = append(r.files, namedFiles(name, value)...)
	}
	for line := range strings.Lines(r.npmrc) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		r.files = append(r.files, namedFiles(name, value)...)
	}
	slices.Sort(r.env)
	slices.Sort(r.files)
	r.files = slices.Compact(r.files)
	return r
}

// envRule matches the variables that say how to reach an index, in either case.
var envRule = regexp.MustCompile(`(?i)^((http|https|no|all)_proxy|ssl_cert_(file|dir)|requests_ca_bundle|curl_ca_bundle|node_extra_ca_certs` +
	`|pip_(` + strings.ReplaceAll(pipKeys, "-", "_") + `)|npm_config_(` + strings.ReplaceAll(npmKeys, "-", "_") + `|@.*|//.*))$`)

const (
	// pipKeys and npmKeys are the settings that say the same in configuration files
	// (pip's and npm's documentation, "Configuration" and "config").
	pipKeys = "index-url|extra-index-url|find-links|no-index|trusted-host|proxy|cert|client-cert|timeout|default-timeout|retries"
	npmKeys = `registry|proxy|https-proxy|noproxy|cafile|ca|strict-ssl|fetch-retries|fetch-timeout|fetch-retry-mintimeout|fetch-retry-maxtimeout|maxsockets`
)

func passedOn(name string) bool { return envRule.MatchString(name) }

// pipFiles are pip's configuration files, the strongest last.
func pipFiles(env map[string]string) []string {
	files := []string{"/etc/xdg/pip/pip.conf", "/etc/pip.conf"}
	if home := env["HOME"]; home != "" {
		files = append(files, filepath.Join(home, ".pip/pip.conf"), filepath.Join(home, ".config/pip/pip.conf"))
	}
	return append(files, nonEmpty(env["PIP_CONFIG_FILE"])...)
}

// npmFiles are npm's, the same.
func npmFiles(env map[string]string) []string {
	files := []string{"/usr/etc/npmrc", "/usr/local/etc/npmrc", "/etc/npmrc"}
	if home := env["HOME"]; home != "" {
		files = append(files, filepath.Join(home, ".npmrc"))
	}
	return append(append(files, nonEmpty(env["NPM_CONFIG_USERCONFIG"])...), nonEmpty(env["npm_config_userconfig"])...)
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

var (
	pipRule     = regexp.MustCompile(`^(` + pipKeys + `)\s*[=:]\s*(.*)$`)
	npmRule     = regexp.MustCompile(`^(` + npmKeys + `|@[^=:\s]+:registry|//[^=\s]+:[A-Za-z_-]+|ca\[\])\s*=\s*(.*)$`)
	npmVariable = regexp.MustCompile(`\$\{([A-Za-z0-9_]+)\}`)
)

// pipSettings picks them out of a pip.conf: those of [global] and of [install], where
// lines that are indented go on.
func pipSettings(text string) map[string]string {
	found := map[string]string{}
	section, last := "", ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch m := pipRule.FindStringSubmatch(trimmed); {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				found[last] = strings.TrimSpace(found[last] + " " + trimmed)
			}
		case trimmed[0] == '[':
			section, last = trimmed, ""
		case m != nil && (section == "[global]" || section == "[install]"):
			last = m[1]
			found[last] = m[2]
		default:
			last = ""
		}
	}
	return found
}

// npmSettings picks them out of an .npmrc. Variables are those of the daemon, which
// the installer does not see.
func npmSettings(text string, env func(string) string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if m := npmRule.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			value := npmVariable.ReplaceAllStringFunc(m[2], func(v string) string { return env(v[2 : len(v)-1]) })
			fmt.Fprintf(&b, "%s = %s\n", m[1], value)
		}
	}
	return b.String()
}

var fileRule = regexp.MustCompile(`(?i)(cert|cert_file|client_cert|bundle|certs|cafile|certfile|keyfile)$`)

// namedFiles is the file that a setting names, if it does.
func namedFiles(name, value string) []string {
	path := strings.Trim(value, `"'`)
	if !fileRule.MatchString(name) || !filepath.IsAbs(path) {
		return nil
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return []string{filepath.Clean(path)}
}

// readConfig returns a configuration file's text, "" when it cannot be read.
func readConfig(path string) string {
	b, err := readBounded(path)
	if err != nil {
		return ""
	}
	return string(b)
}

func readBounded(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %w", path, fs.ErrNotExist)
	}
	return io.ReadAll(io.LimitReader(f, maxConfig))
}
