package markup_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/parleyhq/parley/community/markup"
)

func TestHTML(t *testing.T) {
	r := markup.New()
	for name, c := range map[string]struct{ in, want string }{
		"paragraph":           {"Hello *there*", "<p>Hello <em>there</em></p>"},
		"line breaks stay":    {"one\ntwo", "<p>one<br/>\ntwo</p>"},
		"heading is tamed":    {"# Big", "<h3>Big</h3>"},
		"mention":             {"hi @Ada!", `<p>hi <a href="/u/ada" class="mention">@Ada</a>!</p>`},
		"mention after CJK":   {"你好@ada，来吧", `<p>你好<a href="/u/ada" class="mention">@ada</a>，来吧</p>`},
		"address":             {"`x` me@example", "<p><code>x</code> me@example</p>"},
		"mention in code":     {"`@ada`", "<p><code>@ada</code></p>"},
		"script":              {"<script>alert(1)</script>ok", "<p>&lt;script&gt;alert(1)&lt;/script&gt;ok</p>"},
		"angle brackets":      {"a List<T> here", "<p>a List&lt;T&gt; here</p>"},
		"javascript link":     {"[x](javascript:alert(1))", "<p>x</p>"},
		"data link":           {"[x](data:text/html,hi)", "<p>x</p>"},
		"event attribute":     {`<a href="/" onclick="x()">y</a>`, "<p>&lt;a href=&#34;/&#34; onclick=&#34;x()&#34;&gt;y&lt;/a&gt;</p>"},
		"link":                {"https://example.org/a", `<p><a href="https://example.org/a" rel="nofollow noreferrer">https://example.org/a</a></p>`},
		"picture is a link":   {"![cat](https://example.org/c.png)", `<p><a href="https://example.org/c.png" rel="nofollow noreferrer">cat</a></p>`},
		"code keeps language": {"```go\nx := 1\n```", "<pre><code class=\"language-go\">x := 1\n</code></pre>"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(r.HTML(c.in)); got != c.want {
				t.Errorf("HTML(%q)\n got %s\nwant %s", c.in, got, c.want)
			}
		})
	}
}

func TestMentions(t *testing.T) {
	r := markup.New()
	for in, want := range map[string][]string{
		"nobody":                           nil,
		"@ada and @Bob, @ada again":        {"ada", "bob"},
		"(@ada) **@bob** mail@carol.net":   {"ada", "bob"},
		"`@ada`\n\n    @bob\n\n@carol_x":   {"carol_x"},
		"@a is too short, /@ada is a path": nil,
	} {
		if got := r.Mentions(in); !slices.Equal(got, want) {
			t.Errorf("Mentions(%q) = %q, want %q", in, got, want)
		}
	}
	if got := r.Mentions(strings.Repeat("@ada @bob @carol @dan ", 1) + many(60)); len(got) != 20 {
		t.Errorf("one message called %d people, want at most 20", len(got))
	}
}

func TestWhatAFewKilobytesCost(t *testing.T) {
	r := markup.New()
	for name, in := range map[string]string{
		"a wide table of empty rows": "|" + strings.Repeat("a|", 500) + "\n|" + strings.Repeat("-|", 500) + "\n" + strings.Repeat("|\n", 3000),
		"a long table":               "|" + strings.Repeat("a|", 30) + "\n|" + strings.Repeat("-|", 30) + "\n" + strings.Repeat("|\n", 3000),
		"quotes in quotes":           strings.Repeat(">", 5000),
		"lists in quotes":            strings.Repeat("> - ", 2000),
		"open brackets":              strings.Repeat("[a](", 5000),
		"open emphasis":              strings.Repeat("*a_", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			if out := r.HTML(in); len(out) > 16*len(in) {
				t.Errorf("%d bytes were drawn as %d", len(in), len(out))
			}
			if cost := testing.AllocsPerRun(1, func() { r.HTML(in) }); cost > 200_000 {
				t.Errorf("drawing %d bytes took %.0f allocations", len(in), cost)
			}
		})
	}
	if out := string(r.HTML(strings.Repeat("[", 2000) + "<b>\n@ada")); !strings.HasSuffix(out, "&lt;b&gt;<br/>\n@ada</p>") {
		t.Errorf("a tangle is shown as %q", out[max(0, len(out)-60):])
	}
	if out := string(r.HTML("*a*\n\n" + strings.Repeat("-", 300))); out != "<p><em>a</em></p>\n<hr/>" {
		t.Errorf("a long rule is drawn as %q", out)
	}
	if out := string(r.HTML("|a|b|\n|-|-|\n|1|2|\n")); !strings.Contains(out, "<td>2</td>") {
		t.Errorf("a table is drawn as %q", out)
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("@user" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + " ")
	}
	return b.String()
}

func TestText(t *testing.T) {
	r := markup.New()
	if got := r.Text("# Title\n\nSome **bold** text & `code`\n- a\n- b", 100); got != "Title Some bold text & code a b" {
		t.Errorf("got %q", got)
	}
	if got := r.Text(strings.Repeat("word ", 50), 20); got != "word word word…" && utf8.RuneCountInString(got) > 20 {
		t.Errorf("got %q", got)
	}
}

func FuzzHTML(f *testing.F) {
	f.Add("<img src=x onerror=alert(1)>")
	f.Add("[a](<javascript:x>) @ada ![](x) | a | b |\n|-|-|\n")
	r := markup.New()
	f.Fuzz(func(t *testing.T, in string) {
		out := strings.ToLower(string(r.HTML(in)))
		for _, bad := range []string{"<script", "<img", "<iframe", "<style", "href=\"javascript:"} {
			if strings.Contains(out, bad) {
				t.Fatalf("%q rendered as %q", in, out)
			}
		}
		if n := utf8.RuneCountInString(r.Text(in, 40)); n > 40 {
			t.Fatalf("text of %d characters", n)
		}
	})
}
