// Package repotest checks the rules of the house that no compiler or linter
// knows, over the source of the whole module.
package repotest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Bounds of a file in lines.
const (
	maxLines     = 400
	maxTestLines = 700
)

// file is a parsed source file of the module.
type file struct {
	path  string // from the root of the module
	lines int
	*ast.File
	set *token.FileSet
}

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func (f file) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, f.set.Position(n.Pos()).Line)
}

// source parses every Go file of the module, except what is hidden or test data.
func source(t *testing.T) []file {
	t.Helper()
	root := moduleRoot(t)
	var files []file
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := e.Name(); e.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return fs.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasPrefix(e.Name(), ".") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, "", b, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		files = append(files, file{path: relative, lines: bytes.Count(b, []byte("\n")), File: parsed, set: set})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files found in %s", len(files), root)
	}
	return files
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the working directory")
	return ""
}

func TestPackagesAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range source(t) {
		dir := filepath.Dir(f.path)
		if strings.HasSuffix(f.Name.Name, "_test") {
			continue // the tests of a package that has its own
		}
		text := f.Doc.Text()
		begins := strings.HasPrefix(text, "Package "+f.Name.Name+" ") || f.Name.Name == "main" && text != ""
		documented[dir] = documented[dir] || begins
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment that begins with the package's name", dir)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, f := range source(t) {
		limit := maxLines
		if f.isTest() {
			limit = maxTestLines
		}
		if f.lines >= limit {
			t.Errorf("%s: %d lines, want less than %d", f.path, f.lines, limit)
		}
	}
}

func TestUnsafeIsMarked(t *testing.T) {
	for _, f := range source(t) {
		if f.isTest() || strings.HasSuffix(f.path, "_unsafe.go") {
			continue
		}
		for _, i := range f.Imports {
			if i.Path.Value == `"unsafe"` {
				t.Errorf("%s: unsafe belongs in a file named *_unsafe.go", f.at(i))
			}
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, f := range source(t) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init", f.at(fn))
			}
		}
	}
}

// TestNoPackageState: what a package keeps outside of any value is shared by
// all who use it, and by all tests.
func TestNoPackageState(t *testing.T) {
	allowed := []string{
		"remote.loop", // machine code; Go has no constant arrays
	}
	for _, f := range source(t) {
		if f.isTest() {
			continue
		}
		for _, v := range packageVars(f.File) {
			if !v.constant() && !slices.Contains(allowed, f.Name.Name+"."+v.name.Name) {
				t.Errorf("%s: package-level variable %s can change", f.at(v.name), v.name.Name)
			}
		}
	}
}

// variable is declared outside of functions.
type variable struct {
	name     *ast.Ident
	value    ast.Expr // nil when it has none
	embedded bool     // by go:embed
}

func packageVars(f *ast.File) []variable {
	var vars []variable
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			spec := s.(*ast.ValueSpec)
			embedded := isEmbed(g.Doc) || isEmbed(spec.Doc)
			for i, name := range spec.Names {
				v := variable{name: name, embedded: embedded}
				if i < len(spec.Values) {
					v.value = spec.Values[i]
				}
				vars = append(vars, v)
			}
		}
	}
	return vars
}

func isEmbed(g *ast.CommentGroup) bool {
	return g != nil && slices.ContainsFunc(g.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// constant reports what is a variable only because Go has no constant of that
// kind: an error, a regular expression, an embedded file, a type assertion.
func (v variable) constant() bool {
	if v.embedded || v.name.Name == "_" {
		return true
	}
	call, ok := v.value.(*ast.CallExpr)
	return ok && slices.Contains([]string{"errors.New", "fmt.Errorf", "thaw.Errorf", "Errorf", "regexp.MustCompile"}, called(call))
}

// called is the function's name as it is written, "" for anything but a name.
func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}
