package markup

import (
	"html"
	"html/template"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// What a short text may cost to draw. Nobody writes above these by hand; somebody who wants to
// keep a server busy does, for every reader draws the text again.
const (
	mostColumns  = 40
	mostCells    = 4000 // of one table; a row of one character has as many cells as the widest
	mostBrackets = 1000 // the cost of unclosed ones grows with their square
	mostStars    = 4000 // of emphasis
	mostNested   = 100  // quotes in quotes, on one line
)

// tangled reports whether a text would cost far more to parse than to read.
func tangled(source string) bool {
	if strings.Count(source, "[") > mostBrackets {
		return true
	}
	if strings.Count(source, "*")+strings.Count(source, "_")+strings.Count(source, "~") > mostStars {
		return true
	}
	for line := range strings.Lines(source) {
		if nesting(line) > mostNested {
			return true
		}
	}
	return false
}

// nesting counts the marks of quotes and lists that a line begins with.
func nesting(line string) int {
	n := 0
	for i := range len(line) {
		switch c := line[i]; {
		case c == ' ' || c == '\t':
		case c == '>', strings.IndexByte("-+*", c) >= 0 && i+1 < len(line) && line[i+1] == ' ':
			n++
		default:
			return n
		}
	}
	return n
}

// plain shows a text as it was written.
func plain(source string) template.HTML {
	return template.HTML("<p>" + strings.ReplaceAll(html.EscapeString(strings.TrimSpace(source)), "\n", "<br/>\n") + "</p>") //nolint:gosec // escaped
}

// smallTables are the tables of the library without those that a few kilobytes of text blow up to
// millions of cells: a missing cell is drawn as an empty one.
type smallTables struct{}

// Extend is described at goldmark.Extender.
func (smallTables) Extend(m goldmark.Markdown) {
	m.Parser().AddOptions(
		parser.WithParagraphTransformers(util.Prioritized(smallTable{extension.NewTableParagraphTransformer()}, 200)),
		parser.WithASTTransformers(util.Prioritized(extension.NewTableASTTransformer(), 0)),
	)
	m.Renderer().AddOptions(renderer.WithNodeRenderers(util.Prioritized(extension.NewTableHTMLRenderer(), 500)))
}

type smallTable struct{ parser.ParagraphTransformer }

// Transform makes a table of a paragraph that looks like one, unless it would be too large.
func (s smallTable) Transform(node *ast.Paragraph, reader text.Reader, pc parser.Context) {
	lines, widest := node.Lines(), 0
	for i := range lines.Len() {
		line := lines.At(i)
		widest = max(widest, strings.Count(string(line.Value(reader.Source())), "|")+1)
	}
	if widest > mostColumns || widest*lines.Len() > mostCells {
		return
	}
	s.ParagraphTransformer.Transform(node, reader, pc)
}
