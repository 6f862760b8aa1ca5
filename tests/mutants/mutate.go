package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// mutant is the code with one edit.
type mutant struct {
	number     int
	pkg        *codePackage
	file       string // its path
	function   string // that it is in, as Table.find
	line, col  int
	from, to   int    // the bytes that are replaced
	by         string // what replaces them
	before     string // the code around the edit
	after      string // the same with the edit
	nth        int    // counts the same edits of a function
	equivalent bool
}

// String names the mutant without a line number, which other changes move.
func (m *mutant) String() string { return m.place() + ": " + m.change() }

func (m *mutant) place() string {
	return m.pkg.name + m.file[strings.LastIndexByte(m.file, '/'):] + " " + m.function
}

func (m *mutant) change() string {
	change := m.before + " -> " + m.after
	if m.nth > 1 {
		change += fmt.Sprintf(" (%d)", m.nth)
	}
	return change
}

// text is the file with the edit.
func (m *mutant) text() []byte {
	source := m.pkg.sources[m.file]
	return slices.Concat(source[:m.from], []byte(m.by), source[m.to:])
}

// mutations are all edits of a package, in the order of the code.
func (c *codePackage) mutations() []*mutant {
	var all []*mutant
	for _, path := range slices.Sorted(maps.Keys(c.sources)) {
		file := c.files[path]
		for _, d := range file.Decls {
			w := walker{pkg: c, file: path, base: c.fset.File(file.FileStart), source: c.sources[path]}
			switch d := d.(type) {
			case *ast.FuncDecl:
				w.function = functionName(d)
			case *ast.GenDecl:
				if d.Tok != token.VAR && d.Tok != token.CONST {
					continue
				}
				w.function = d.Tok.String()
			}
			ast.PreorderStack(d, nil, w.visit)
			all = append(all, w.found...)
		}
	}
	count := map[string]int{}
	for _, m := range all {
		count[m.String()]++ // while nth is 0
		defer func(nth int) { m.nth = nth }(count[m.String()])
	}
	return all
}

func functionName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	t := d.Recv.List[0].Type
	for {
		switch of := t.(type) {
		case *ast.StarExpr:
			t = of.X
		case *ast.IndexExpr:
			t = of.X
		case *ast.Ident:
			return of.Name + "." + d.Name.Name
		default:
			return d.Name.Name
		}
	}
}

// walker collects the edits of one declaration.
type walker struct {
	pkg      *codePackage
	file     string
	base     *token.File
	source   []byte
	function string
	stack    []ast.Node
	found    []*mutant
}

// exchanged are the operators that take each other's place. A comparison has its
// boundary moved, or is turned around.
var exchanged = map[token.Token][]token.Token{
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL}, token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL}, token.REM: {token.MUL},
	token.SHL: {token.SHR}, token.SHR: {token.SHL},
	token.AND: {token.OR}, token.OR: {token.AND}, token.XOR: {token.AND}, token.AND_NOT: {token.AND},
	token.ADD_ASSIGN: {token.SUB_ASSIGN}, token.SUB_ASSIGN: {token.ADD_ASSIGN},
	token.MUL_ASSIGN: {token.QUO_ASSIGN}, token.QUO_ASSIGN: {token.MUL_ASSIGN},
	token.SHL_ASSIGN: {token.SHR_ASSIGN}, token.SHR_ASSIGN: {token.SHL_ASSIGN},
	token.AND_ASSIGN: {token.OR_ASSIGN}, token.OR_ASSIGN: {token.AND_ASSIGN},
	token.AND_NOT_ASSIGN: {token.OR_ASSIGN}, token.INC: {token.DEC}, token.DEC: {token.INC},
}

func (w *walker) visit(n ast.Node, stack []ast.Node) bool {
	w.stack = append(stack, n)
	switch n := n.(type) {
	case *ast.ArrayType:
		return false // a length is the type's
	case *ast.BinaryExpr:
		w.operator(n.OpPos, n.Op)
	case *ast.AssignStmt:
		w.operator(n.TokPos, n.Tok)
	case *ast.IncDecStmt:
		w.operator(n.TokPos, n.Tok)
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			w.edit(n.OpPos, n.OpPos+1, "")
		}
	case *ast.BasicLit:
		w.literal(n)
	case *ast.Ident:
		if of, ok := w.pkg.info.Uses[n].(*types.Const); ok && of.Parent() == types.Universe {
			if flipped := map[string]string{"true": "false", "false": "true"}[n.Name]; flipped != "" {
				w.edit(n.Pos(), n.End(), flipped)
			}
		}
	case *ast.IfStmt:
		if !turns(n.Cond) {
			w.wrap(n.Cond, "!(", ")")
		}
		w.wrap(n.Cond, "(", ") || true")
		w.wrap(n.Cond, "(", ") && false")
	case *ast.ForStmt:
		if n.Cond != nil {
			w.wrap(n.Cond, "(", ") && false")
		}
	case *ast.ReturnStmt:
		for _, result := range n.Results {
			w.result(result)
		}
	case *ast.CaseClause:
		w.edit(n.Pos(), n.End(), "")
	case *ast.CommClause:
		w.edit(n.Pos(), n.End(), "")
	}
	w.statement(n)
	return true
}

// turns reports whether an expression is turned around by an edit of its own.
func turns(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return e.Op != token.LAND && e.Op != token.LOR
	case *ast.UnaryExpr:
		return e.Op == token.NOT
	}
	return false
}

func (w *walker) operator(pos token.Pos, op token.Token) {
	for _, other := range exchanged[op] {
		w.edit(pos, pos+token.Pos(len(op.String())), other.String())
	}
}

// literal makes an integer one larger.
func (w *walker) literal(n *ast.BasicLit) {
	if n.Kind != token.INT {
		return
	}
	v, err := strconv.ParseUint(n.Value, 0, 64)
	if err != nil || v+1 == 0 {
		return
	}
	larger := strconv.FormatUint(v+1, 10)
	if strings.HasPrefix(n.Value, "0") && v > 0 {
		larger = fmt.Sprintf("%#x", v+1)
	}
	w.edit(n.Pos(), n.End(), larger)
}

var errorType = types.Universe.Lookup("error").Type()

// result turns a truth value around, and makes an error none.
func (w *walker) result(e ast.Expr) {
	switch t := w.pkg.info.TypeOf(e); {
	case t == nil:
	case types.Identical(t, errorType):
		w.edit(e.Pos(), e.End(), "nil")
	case types.Identical(t.Underlying(), types.Typ[types.Bool]) && !turns(e) && w.pkg.info.Types[e].Value == nil:
		w.wrap(e, "!(", ")")
	}
}

// statement removes a statement of a block.
func (w *walker) statement(n ast.Node) {
	if len(w.stack) < 2 {
		return
	}
	switch w.stack[len(w.stack)-2].(type) {
	case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
	default:
		return
	}
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			return
		}
	case *ast.ExprStmt, *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt, *ast.ReturnStmt, *ast.BranchStmt:
	default:
		return
	}
	w.edit(n.Pos(), n.End(), "")
}

func (w *walker) wrap(e ast.Expr, left, right string) {
	w.edit(e.Pos(), e.End(), left+string(w.source[w.base.Offset(e.Pos()):w.base.Offset(e.End())])+right)
}

func (w *walker) edit(from, to token.Pos, by string) {
	m := &mutant{pkg: w.pkg, file: w.file, function: w.function, from: w.base.Offset(from), to: w.base.Offset(to), by: by}
	at := w.base.Position(from)
	m.line, m.col = at.Line, at.Column
	m.before, m.after = w.around(m)
	w.found = append(w.found, m)
}
