package main

import (
	"go/ast"
	"strings"
)

// width is how much of the code before and after an edit is shown.
const width = 60

// around is the statement that an edit is in, before and after it. A long one is
// cut, and white space is one space, so that gofmt changes no name of a mutant.
func (w *walker) around(m *mutant) (before, after string) {
	from, to := w.statementAround()
	left, right := string(w.source[min(from, m.from):m.from]), string(w.source[m.to:max(to, m.to)])
	if left = oneLine(left); len(left) > width {
		left = "..." + left[len(left)-width:]
	}
	if right = oneLine(right); len(right) > width {
		right = right[:width] + "..."
	}
	if left == "" && right == "" && m.by == "" {
		// "return" says little without what it is in.
		left, right = w.parent(), "}"
		if left == "" {
			return middleCut(oneLine(string(w.source[m.from:m.to]))), "removed"
		}
	}
	// Of a whole clause or a long call, both ends are enough.
	old, by := middleCut(oneLine(string(w.source[m.from:m.to]))), middleCut(oneLine(m.by))
	return strings.TrimSpace(left + old + right), strings.TrimSpace(left + by + right)
}

// parent is the head of what a statement is directly in, or nothing in a function's
// own block.
func (w *walker) parent() string {
	inner := w.stack
	w.stack = w.stack[:len(w.stack)-1]
	defer func() { w.stack = inner }()
	if len(w.stack) < 2 {
		return ""
	}
	block, isBlock := w.stack[len(w.stack)-1].(*ast.BlockStmt)
	if isBlock {
		w.stack = w.stack[:len(w.stack)-1]
		switch n := w.stack[len(w.stack)-1].(type) {
		case *ast.IfStmt:
			if n.Else == block {
				return "else { "
			}
		case *ast.ForStmt, *ast.RangeStmt:
		default:
			return ""
		}
	}
	from, to := w.statementAround()
	head := strings.TrimSpace(oneLine(string(w.source[from:to])))
	if len(head) > 2*width {
		head = head[:width] + "..." + head[len(head)-width:]
	}
	return head + " { "
}

func middleCut(s string) string {
	if len(s) <= 3*width {
		return s
	}
	return s[:2*width] + "..." + s[len(s)-width:]
}

func oneLine(s string) string {
	line := strings.Join(strings.Fields(s), " ")
	if line == "" {
		return line
	}
	if strings.TrimLeft(s, " \t\n") != s {
		line = " " + line
	}
	if strings.TrimRight(s, " \t\n") != s {
		line += " "
	}
	return line
}

// statementAround is the innermost statement, or only its head where it has a body.
func (w *walker) statementAround() (from, to int) {
	offset := w.base.Offset
	for i := len(w.stack) - 1; i >= 0; i-- {
		switch n := w.stack[i].(type) {
		case *ast.BlockStmt:
		case *ast.IfStmt:
			return offset(n.Pos()), offset(n.Body.Pos())
		case *ast.ForStmt:
			return offset(n.Pos()), offset(n.Body.Pos())
		case *ast.RangeStmt:
			return offset(n.Pos()), offset(n.Body.Pos())
		case *ast.SwitchStmt:
			return offset(n.Pos()), offset(n.Body.Pos())
		case *ast.CaseClause:
			return offset(n.Pos()), offset(n.Colon) + 1
		case *ast.CommClause:
			return offset(n.Pos()), offset(n.Colon) + 1
		case *ast.ValueSpec, ast.Stmt:
			return offset(n.Pos()), offset(n.End())
		}
	}
	return offset(w.stack[0].Pos()), offset(w.stack[0].Pos())
}
