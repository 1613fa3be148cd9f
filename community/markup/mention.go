package markup

import (
	"regexp"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// Handle is what a person's handle looks like, without anchors.
const Handle = `[a-z0-9][a-z0-9_-]{0,30}[a-z0-9]`

// mostMentions bounds how many people one message can call.
const mostMentions = 20

var mentioned = regexp.MustCompile(`(?i)^@(` + Handle + `)`)

// Mentions lists the handles named in a message outside code, in lower case, once each, in order.
func (r *Renderer) Mentions(source string) []string {
	if !strings.Contains(source, "@") || tangled(source) {
		return nil // a tangle is shown as it is, without links
	}
	src := []byte(source)
	var out []string
	seen := make(map[string]bool)
	// The walker below returns no error.
	_ = ast.Walk(r.md.Parser().Parse(text.NewReader(src)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		link, ok := n.(*ast.Link)
		if !entering || !ok {
			return ast.WalkContinue, nil
		}
		if _, ok := link.AttributeString("class"); ok {
			handle := strings.TrimPrefix(string(link.Destination), "/u/")
			if !seen[handle] && len(out) < mostMentions {
				seen[handle] = true
				out = append(out, handle)
			}
		}
		return ast.WalkContinue, nil
	})
	return out
}

// mentionParser makes "@ada" a link to her profile, wherever text may hold a link.
type mentionParser struct{}

// Trigger are the characters it looks at.
func (mentionParser) Trigger() []byte { return []byte{'@'} }

// Parse reads one mention at the reader's place, or returns nil.
func (mentionParser) Parse(_ ast.Node, block text.Reader, _ parser.Context) ast.Node {
	before := block.PrecendingCharacter()
	if isWord(before) || before == '/' || before == '@' {
		return nil // an address or a path, not a mention
	}
	line, segment := block.PeekLine()
	found := mentioned.FindSubmatchIndex(line)
	if found == nil {
		return nil
	}
	if end := found[1]; end < len(line) && (isWord(rune(line[end])) || line[end] == '@') {
		return nil
	}
	block.Advance(found[1])
	link := ast.NewLink()
	link.Destination = append([]byte("/u/"), strings.ToLower(string(line[found[2]:found[3]]))...)
	link.SetAttributeString("class", []byte("mention"))
	link.AppendChild(link, ast.NewTextSegment(segment.WithStop(segment.Start+found[1])))
	return link
}

func isWord(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// tame keeps a message inside its place on the page: headings start at the third level, pictures
// become links to them.
type tame struct{}

// Transform changes the tree in place.
func (tame) Transform(doc *ast.Document, _ text.Reader, _ parser.Context) {
	var images []*ast.Image
	// The walker below returns no error.
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			switch n := n.(type) {
			case *ast.Heading:
				n.Level = min(n.Level+2, 6)
			case *ast.Image:
				images = append(images, n)
			}
		}
		return ast.WalkContinue, nil
	})
	for _, image := range images {
		link := ast.NewLink()
		link.Destination = image.Destination
		for child := image.FirstChild(); child != nil; {
			next := child.NextSibling()
			link.AppendChild(link, child)
			child = next
		}
		image.Parent().ReplaceChild(image.Parent(), image, link)
	}
}
