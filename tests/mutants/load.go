package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mutated are the packages under test. tests/ is not: it tests.
var mutated = []string{"./match/...", "./capture/...", "./fs/...", "./namespaces/...", "./cmd/..."}

// codePackage is a package whose code is mutated.
type codePackage struct {
	name       string // as match/recent
	path       string // its import path
	dir        string
	files      map[string]*ast.File // by the path
	sources    map[string][]byte
	fset       *token.FileSet
	types      types.Config
	info       *types.Info
	statements int
	candidates []*mutant
}

// load reads the packages and checks their types with the compiler's export data.
func load(ctx context.Context) ([]*codePackage, error) {
	args := append([]string{"list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles,DepOnly"}, mutated...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	exports := map[string]string{}
	fset := token.NewFileSet()
	config := types.Config{
		Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }),
		Sizes:    types.SizesFor("gc", "amd64"),
	}
	var packages []*codePackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Export, Dir string
			GoFiles                 []string
			DepOnly                 bool
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		exports[p.ImportPath] = p.Export
		if p.DepOnly {
			continue
		}
		c := &codePackage{
			name: strings.TrimPrefix(p.ImportPath, "recentfs/"), path: p.ImportPath, dir: p.Dir,
			files: map[string]*ast.File{}, sources: map[string][]byte{}, fset: fset, types: config,
		}
		for _, name := range p.GoFiles {
			if err := c.parse(filepath.Join(p.Dir, name)); err != nil {
				return nil, err
			}
		}
		packages = append(packages, c)
	}
	for _, c := range packages {
		c.info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
		if err := c.check(c.files, c.info); err != nil {
			return nil, err
		}
	}
	return packages, nil
}

func (c *codePackage) parse(path string) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(c.fset, path, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if ast.IsGenerated(file) {
		c.files[path] = file // for its types alone
		return nil
	}
	c.files[path], c.sources[path] = file, source
	ast.Inspect(file, func(n ast.Node) bool {
		if _, block := n.(*ast.BlockStmt); !block {
			if _, ok := n.(ast.Stmt); ok {
				c.statements++
			}
		}
		return true
	})
	return nil
}

func (c *codePackage) check(files map[string]*ast.File, info *types.Info) error {
	sorted := make([]*ast.File, 0, len(files))
	for _, path := range slices.Sorted(maps.Keys(files)) {
		sorted = append(sorted, files[path])
	}
	_, err := c.types.Check(c.path, c.fset, sorted, info)
	return err
}

// compiles reports whether the package with a mutant in it compiles.
func (c *codePackage) compiles(m *mutant) bool {
	fset := c.fset
	file, err := parser.ParseFile(fset, m.file, m.text(), parser.SkipObjectResolution)
	if err != nil {
		return false
	}
	files := maps.Clone(c.files)
	files[m.file] = file
	return c.check(files, nil) == nil
}
