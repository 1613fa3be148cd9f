// Package markup turns what people write into HTML that is safe to show, and into plain text.
package markup

import (
	"bytes"
	"html"
	"html/template"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	hardwrap "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/util"
)

// Renderer draws Markdown. Safe for concurrent use; make one and keep it.
type Renderer struct {
	md     goldmark.Markdown
	policy *bluemonday.Policy
	strip  *bluemonday.Policy
}

// New makes a renderer: CommonMark with tables, strikethrough, task lists, bare links and
// @mentions; HTML is shown as the text it is, images become links, links say nofollow.
func New() *Renderer {
	return &Renderer{
		md: goldmark.New(
			goldmark.WithParser(parser.NewParser(
				parser.WithBlockParsers(without(parser.DefaultBlockParsers(), parser.NewHTMLBlockParser())...),
				parser.WithInlineParsers(without(parser.DefaultInlineParsers(), parser.NewRawHTMLParser())...),
				parser.WithInlineParsers(util.Prioritized(mentionParser{}, 150)),
				parser.WithParagraphTransformers(parser.DefaultParagraphTransformers()...),
				parser.WithASTTransformers(util.Prioritized(tame{}, 100)),
			)),
			goldmark.WithExtensions(extension.Strikethrough, smallTables{}, extension.TaskList, extension.Linkify),
			goldmark.WithRendererOptions(
				hardwrap.WithHardWraps(),
				hardwrap.WithXHTML(),
			),
		),
		policy: policy(),
		strip:  bluemonday.StrictPolicy(),
	}
}

// without leaves out the parsers of HTML: who writes List<T> wants to see it.
func without(list []util.PrioritizedValue, unwanted any) []util.PrioritizedValue {
	return slices.DeleteFunc(list, func(v util.PrioritizedValue) bool {
		return reflect.TypeOf(v.Value) == reflect.TypeOf(unwanted)
	})
}

func policy() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "strong", "em", "del", "code", "pre", "blockquote", "ul", "li", "hr", "h3", "h4", "h5", "h6",
		"table", "thead", "tbody", "tr", "th", "td")
	p.AllowAttrs("start").Matching(bluemonday.Integer).OnElements("ol")
	p.AllowElements("ol")
	p.AllowAttrs("align").Matching(bluemonday.CellAlign).OnElements("th", "td")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^language-[\w+-]{1,30}$`)).OnElements("code")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^mention$`)).OnElements("a")
	p.AllowAttrs("href").OnElements("a")
	p.AllowURLSchemes("http", "https", "mailto")
	p.AllowRelativeURLs(true)
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnFullyQualifiedLinks(true)
	p.RequireNoReferrerOnFullyQualifiedLinks(true)
	return p
}

// HTML renders Markdown as sanitised HTML.
func (r *Renderer) HTML(source string) template.HTML {
	var b bytes.Buffer
	if tangled(source) || r.md.Convert([]byte(source), &b) != nil {
		// A buffer does not fail to take writes; were a parser extension to fail, plain text is safe.
		return plain(source)
	}
	return template.HTML(strings.TrimSpace(r.policy.Sanitize(b.String()))) //nolint:gosec // sanitised
}

// Text renders Markdown as one line of plain text of at most limit characters, cut at a word
// where there is one, with an ellipsis.
func (r *Renderer) Text(source string, limit int) string {
	// What comes after many times the limit cannot be shown; do not parse it.
	if most := limit * 8; len(source) > most {
		source = strings.ToValidUTF8(source[:most], "")
	}
	var b bytes.Buffer
	if tangled(source) || r.md.Convert([]byte(source), &b) != nil {
		return Shorten(source, limit)
	}
	spaced := strings.NewReplacer("</p>", " ", "<br />", " ", "</li>", " ", "</h3>", " ", "</td>", " ", "</th>", " ").Replace(b.String())
	return Shorten(html.UnescapeString(r.strip.Sanitize(spaced)), limit)
}

// Shorten folds white space and cuts s to at most limit characters.
func Shorten(s string, limit int) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	runes := []rune(s)[:limit-1]
	for i := len(runes) - 1; i > limit*3/4; i-- {
		if unicode.IsSpace(runes[i]) {
			runes = runes[:i]
			break
		}
	}
	return strings.TrimRight(string(runes), " ,.;:") + "…"
}
