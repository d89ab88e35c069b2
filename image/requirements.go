package image

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"thaw"
)

const requirementsName = "requirements.txt"

// readRequirements returns requirements.txt, nil when it asks for nothing. What it
// asks for comes from the daemon's package index and from nowhere else, so that it
// cannot have the daemon read its own disk or open other addresses.
func readRequirements(code fs.FS) (map[string][]byte, error) {
	text, err := readList(code, requirementsName)
	if err != nil {
		return nil, err
	}
	lines := requirementLines(string(text))
	for _, l := range lines {
		if err := checkRequirement(l); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "-") }) {
		return nil, nil
	}
	return map[string][]byte{requirementsName: text}, nil
}

var commentRule = regexp.MustCompile(`(^|\s)#.*$`)

// requirementLines are the logical lines of "Requirements File Format" in pip's
// documentation: those that end in \ go on, comments are left out.
func requirementLines(text string) (lines []string) {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", " ")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(commentRule.ReplaceAllString(strings.TrimRight(line, "\n"), "")); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

var (
	// requirementRule is a name, then extras, versions and a marker (PEP 508), then hashes.
	requirementRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*(\[[A-Za-z0-9._, -]*\])?\s*([(<>=!~][^;#/@]*)?(;.*?)?(\s+--hash[= ]\S+)*$`)
	hashRule        = regexp.MustCompile(`\s--hash[= ]`)
	urlRule         = regexp.MustCompile(`^[A-Za-z0-9+.-]+://|^(git|hg|svn|bzr)\+|\s?@\s?\S*:|^file:`)
)

// checkRequirement wants a package of the index by its name.
func checkRequirement(line string) error {
	refuse := func(why string) error {
		return thaw.Errorf(thaw.CodeInvalid, "%s: %.100q %s", requirementsName, line, why)
	}
	option, _, _ := strings.Cut(strings.ReplaceAll(line, "=", " "), " ")
	switch {
	case strings.Contains(line, "${"):
		return refuse("uses a variable: write the value")
	case option == "--pre", option == "--prefer-binary", option == "--require-hashes":
		return nil
	case option == "-e", option == "--editable":
		return refuse("is a folder to edit, which a function's VM has not: put the package's folder into the code")
	case strings.HasPrefix(line, "-r"), strings.HasPrefix(line, "-c"), option == "--requirement", option == "--constraint":
		return refuse("names another file: write one file, as `pip freeze` or `pip-compile` do")
	case strings.HasPrefix(line, "-"):
		return refuse("is an option that is not taken from code: package indexes are settings of the daemon")
	case urlRule.MatchString(line):
		return refuse("is a URL: name a package of the index, or put its files into the code")
	case strings.HasPrefix(line, ".") || strings.ContainsAny(strings.Split(hashRule.Split(line, 2)[0], ";")[0], `/\`):
		return refuse("is a path: put the package's folder into the code, from where it is imported as it is")
	case !requirementRule.MatchString(line):
		return refuse("is no requirement: write a name and versions, such as requests==2.32.3")
	}
	return nil
}

// hashed reports whether requirements have hashes, upon which all must.
func hashed(text []byte) bool {
	return slices.ContainsFunc(requirementLines(string(text)), func(l string) bool { return hashRule.MatchString(l) })
}
