package image

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"thaw"
)

// minDebian is the oldest release whose kernel and packages this builds from.
const minDebian = 12

// release returns the code name of the Debian release of this machine, from the
// text of os-release(5).
func release(osRelease string) (string, error) {
	fields := map[string]string{}
	for line := range strings.Lines(osRelease) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		fields[k] = strings.Trim(v, `"'`)
	}
	if fields["ID"] != "debian" || fields["VERSION_CODENAME"] == "" {
		return "", thaw.Errorf(thaw.CodeUnavailable, "images are built from Debian packages and this machine runs %q: use Debian %d or newer", fields["PRETTY_NAME"], minDebian)
	}
	// Testing and unstable have no VERSION_ID and are newer.
	if id, ok := fields["VERSION_ID"]; ok {
		if n, err := strconv.Atoi(id); err != nil || n < minDebian {
			return "", thaw.Errorf(thaw.CodeUnavailable, "this machine runs %s: use Debian %d or newer", fields["PRETTY_NAME"], minDebian)
		}
	}
	return fields["VERSION_CODENAME"], nil
}

// writeSources copies what the machine's apt sources say about Debian itself
// into dir and returns the files for mmdebstrap, none when there is nothing.
func writeSources(dir, etcApt, codename string) ([]string, error) {
	names := []string{filepath.Join(etcApt, "sources.list")}
	parts, err := os.ReadDir(filepath.Join(etcApt, "sources.list.d"))
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("list apt sources: %w", err)
	}
	for _, p := range parts {
		names = append(names, filepath.Join(etcApt, "sources.list.d", p.Name()))
	}
	var lines, stanzas []string
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // what apt cannot read it does not use either
		}
		switch filepath.Ext(name) {
		case ".list":
			lines = append(lines, debianLines(string(b), codename)...)
		case ".sources":
			stanzas = append(stanzas, debianStanzas(string(b), codename)...)
		}
	}
	return writeLists(dir, strings.Join(lines, "\n"), strings.Join(stanzas, "\n\n"))
}

func writeLists(dir, list, sources string) ([]string, error) {
	var files []string
	for _, f := range []struct{ name, text string }{{"debian.list", list}, {"debian.sources", sources}} {
		if f.text == "" {
			continue
		}
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, []byte(f.text+"\n"), 0o644); err != nil {
			return nil, fmt.Errorf("write apt sources: %w", err)
		}
		files = append(files, path)
	}
	return files, nil
}

// debianLines picks the lines of sources.list(5) in one-line style that are
// Debian's own.
func debianLines(text, codename string) []string {
	var found []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(withoutOptions(line))
		if len(f) < 4 || f[0] != "deb" {
			continue
		}
		if isDebian(f[2:3], f[3:], codename) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// withoutOptions drops the [...] of a one-line entry.
func withoutOptions(line string) string {
	open, end := strings.Index(line, "["), strings.Index(line, "]")
	if open < 0 || end < open {
		return line
	}
	return line[:open] + " " + line[end+1:]
}

// debianStanzas picks the stanzas of sources.list(5) in deb822 style that are
// Debian's own.
func debianStanzas(text, codename string) []string {
	var found []string
	for _, s := range splitStanzas(text) {
		f := stanzaFields(s)
		if slices.Contains(f["types"], "deb") && !slices.Contains(f["enabled"], "no") && isDebian(f["suites"], f["components"], codename) {
			found = append(found, s)
		}
	}
	return found
}

func splitStanzas(text string) []string {
	var stanzas []string
	var lines []string
	for line := range strings.Lines(text + "\n\n") {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, strings.TrimRight(line, "\r\n"))
			continue
		}
		if len(lines) > 0 {
			stanzas = append(stanzas, strings.Join(lines, "\n"))
		}
		lines = nil
	}
	return stanzas
}

func stanzaFields(stanza string) map[string][]string {
	fields := map[string][]string{}
	last := ""
	sc := bufio.NewScanner(strings.NewReader(stanza))
	for sc.Scan() {
		line := sc.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[last] = append(fields[last], strings.Fields(line)...)
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		last = strings.ToLower(strings.TrimSpace(name))
		fields[last] = strings.Fields(value)
	}
	return fields
}

// isDebian tells Debian's own archives from others that use its code names: all
// suites must be the release's own and the component main must be there.
func isDebian(suites, components []string, codename string) bool {
	for _, s := range suites {
		switch s {
		case codename, codename + "-updates", codename + "-security":
		default:
			return false
		}
	}
	return len(suites) > 0 && slices.Contains(components, "main")
}

// aptOptions returns the machine's settings of how apt gets packages (proxies,
// date checks, retries), which mmdebstrap does not look at by itself.
func aptOptions(ctx context.Context) ([]string, error) {
	out, err := command{name: "apt-config", args: []string{"dump"}}.output(ctx)
	if err != nil {
		return nil, fmt.Errorf("read apt configuration: %w", err)
	}
	return pickOptions(out), nil
}

func pickOptions(dump string) []string {
	var opts []string
	for line := range strings.Lines(dump) {
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(line, " ")
		rest, ok := strings.CutPrefix(name, "Acquire::")
		if !ok || strings.HasSuffix(line, ` "";`) {
			continue
		}
		first, _, _ := strings.Cut(rest, "::")
		switch strings.ToLower(first) {
		case "http", "https", "ftp", "tor", "retries", "queue-mode", "proxy-auto-detect",
			"check-valid-until", "check-date", "max-validtime", "min-validtime", "forceipv4", "forceipv6":
			opts = append(opts, line)
		}
	}
	return opts
}
