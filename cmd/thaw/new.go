package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
)

// templates holds a folder per runtime, and one more for each further language. A
// file's name ends in .tmpl so that Go takes no template for a part of this module.
//
//go:embed all:template
var templates embed.FS

func newNewCommand(a *app) *cobra.Command {
	var runtime, language string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a small function to start from",
		Long:  "Write a small, commented function to start from, with its thaw.yaml, into a new\nfolder called NAME. A folder or file of that name is never overwritten.",
		Example: `  thaw new hello
  thaw new web --runtime provided
  thaw new job --runtime provided --language shell`,
		Args:              arguments("NAME"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(_ *cobra.Command, args []string) error { return a.new(args[0], thaw.Runtime(runtime), language) },
	}
	cmd.Flags().StringVar(&runtime, "runtime", string(thaw.RuntimePython), "`runtime`: "+strings.Join(runtimeNames(), ", "))
	cmd.Flags().StringVar(&language, "language", "", "`language` of provided: go, or shell (default go)")
	completeWords(cmd, "runtime", runtimeNames()...)
	completeWords(cmd, "language", "go", "shell")
	return cmd
}

// templateOf names the folder of the function to start from.
func templateOf(runtime thaw.Runtime, language string) (string, error) {
	switch {
	case !slices.Contains(thaw.Runtimes(), runtime):
		return "", thaw.Errorf(thaw.CodeInvalid, "unknown runtime %q: choose %s", runtime, strings.Join(runtimeNames(), ", "))
	case language == "", runtime == thaw.RuntimeProvided && language == "go":
		return string(runtime), nil
	case runtime == thaw.RuntimeProvided && language == "shell":
		return "provided-shell", nil
	case runtime == thaw.RuntimeProvided:
		return "", thaw.Errorf(thaw.CodeInvalid, "unknown language %q: choose go or shell", language)
	}
	return "", thaw.Errorf(thaw.CodeInvalid, "language %q is for the runtime %s: leave it out, or add --runtime %[2]s", language, thaw.RuntimeProvided)
}

func (a *app) new(name string, runtime thaw.Runtime, language string) error {
	if err := thaw.CheckName(name); err != nil {
		return err
	}
	template, err := templateOf(runtime, language)
	if err != nil {
		return err
	}
	files, err := writeTemplate(name, template)
	if err != nil {
		return err
	}
	if a.asValues() {
		return a.value(map[string]any{"name": name, "runtime": runtime, "files": files})
	}
	_, err = fmt.Fprintf(a.stdout, "%s written\nnext: thaw deploy ./%s\n", strings.Join(files, ", "), name)
	return written(err)
}

// writeTemplate makes the folder and returns the files it wrote there. A folder
// that could not be filled is removed again.
func writeTemplate(name, template string) (files []string, err error) {
	if err := os.Mkdir(name, 0o755); errors.Is(err, os.ErrExist) {
		return nil, thaw.Errorf(thaw.CodeConflict, "%s exists already: choose another name, or remove it", name)
	} else if err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "make folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(name))
		}
	}()
	from := path.Join("template", template)
	entries, err := templates.ReadDir(from)
	if err != nil {
		return nil, fmt.Errorf("read template: %w", err)
	}
	for _, e := range entries {
		file := filepath.Join(name, strings.TrimSuffix(e.Name(), ".tmpl"))
		if err := writeFile(file, path.Join(from, e.Name()), name); err != nil {
			return nil, thaw.Errorf(thaw.CodeUnavailable, "write function: %w", err)
		}
		files = append(files, file)
	}
	return files, nil
}

func writeFile(file, template, name string) error {
	text, err := fs.ReadFile(templates, template)
	if err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(string(text), "#!") {
		mode = 0o755
	}
	return os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "{{name}}", name)), mode)
}
