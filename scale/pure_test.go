package scale

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestPure: what decides is told the time, starts nothing and locks nothing.
func TestPure(t *testing.T) {
	here, _ := filepath.Glob("*.go") // the patterns are good
	there, _ := filepath.Glob("simulate/*.go")
	set, read := token.NewFileSet(), 0
	for _, name := range append(here, there...) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		read++
		ast.Inspect(f, func(n ast.Node) bool {
			if what := impure(n); what != "" {
				t.Errorf("%s: %s", set.Position(n.Pos()), what)
			}
			return true
		})
	}
	if read < 10 {
		t.Errorf("only %d files were read", read)
	}
}

// impure says what is wrong with n, "" for nothing.
func impure(n ast.Node) string {
	const clocks = " Now Since Until After AfterFunc Sleep NewTimer NewTicker Tick "
	switch n := n.(type) {
	case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt:
		return "a goroutine or a channel"
	case *ast.ImportSpec:
		if n.Path.Value == `"sync"` || n.Path.Value == `"context"` {
			return "imports " + n.Path.Value
		}
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && strings.Contains(clocks, " "+n.Sel.Name+" ") {
			return "time." + n.Sel.Name
		}
	}
	return ""
}
