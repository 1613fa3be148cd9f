package web_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/parleyhq/parley/web"
)

func TestAssets(t *testing.T) {
	site := newSite(t)
	page := render(t, site, pages()["/"]())
	app := regexp.MustCompile(`/static/[0-9a-f]+/js/app\.js`).FindString(page)
	if app == "" {
		t.Fatal("the page does not load app.js")
	}
	get := func(method, path string) *http.Response {
		w := httptest.NewRecorder()
		site.Assets().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Result()
	}
	for _, c := range []struct {
		method, path string
		status       int
		cache, kind  string
	}{
		{"GET", app, 200, "immutable", "text/javascript"},
		{"HEAD", app, 200, "immutable", "text/javascript"},
		{"GET", "/static/000000000000/js/app.js", 200, "no-cache", "text/javascript"},
		{"GET", strings.Replace(app, "js/app.js", "i18n/zh-CN.json", 1), 200, "immutable", "application/json"},
		{"GET", strings.Replace(app, "js/app.js", "icons.svg", 1), 200, "immutable", "image/svg+xml"},
		{"GET", strings.Replace(app, "js/app.js", "../web.go", 1), 404, "", ""},
		{"GET", "/static/", 404, "", ""},
		{"POST", app, 405, "", ""},
	} {
		r := get(c.method, c.path)
		if r.StatusCode != c.status || !strings.Contains(r.Header.Get("Cache-Control"), c.cache) || !strings.HasPrefix(r.Header.Get("Content-Type"), c.kind) {
			t.Errorf("%s %s: %d, %q, %q", c.method, c.path, r.StatusCode, r.Header.Get("Cache-Control"), r.Header.Get("Content-Type"))
		}
	}
	// Every address a page names is there.
	for _, ref := range regexp.MustCompile(`/static/[^"#]+`).FindAllString(page, -1) {
		if r := get("GET", ref); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", ref, r.StatusCode)
		}
	}
}

func TestIconsExist(t *testing.T) {
	sprite, err := os.ReadFile("static/icons.svg")
	if err != nil {
		t.Fatal(err)
	}
	site := newSite(t)
	for path, fixture := range pages() {
		for _, m := range regexp.MustCompile(`icons\.svg#([a-z]+)`).FindAllStringSubmatch(render(t, site, fixture()), -1) {
			if !strings.Contains(string(sprite), `id="`+m[1]+`"`) {
				t.Errorf("%s: no icon %q", path, m[1])
			}
		}
	}
}

func TestPreferences(t *testing.T) {
	for _, c := range []struct {
		name, accept, cookie string
		lang                 web.Lang
		theme, zone          string
	}{
		{"nothing", "", "", web.English, "auto", "UTC"},
		{"browser in Chinese", "zh-TW,zh;q=0.9,en;q=0.8", "", web.Chinese, "auto", "UTC"},
		{"browser in French then Chinese", "fr, zh-CN", "", web.Chinese, "auto", "UTC"},
		{"chosen", "zh-CN", "lang=en; theme=dark; tz=Asia/Shanghai", web.English, "dark", "Asia/Shanghai"},
		{"nonsense", "xx", "lang=../x; theme=pink; tz=Not/AZone", web.English, "auto", "UTC"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", c.accept)
		r.Header.Set("Cookie", c.cookie)
		p := web.PreferencesOf(r)
		if p.Lang != c.lang || p.Theme != c.theme || p.Zone.String() != c.zone {
			t.Errorf("%s: %v %v %v", c.name, p.Lang, p.Theme, p.Zone)
		}
	}
}

func TestSetPreferences(t *testing.T) {
	site := newSite(t)
	for back, want := range map[string]string{
		"/p/1?before=3": "/p/1?before=3", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/", "/\t/evil.example": "/", "": "/", "/a\r\nSet-Cookie: x=1": "/",
	} {
		form := url.Values{"lang": {"zh-CN"}, "theme": {"pink"}, "back": {back}}
		r := httptest.NewRequest(http.MethodPost, "/preferences", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		site.SetPreferences(w, r)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
			t.Errorf("back %q: %d to %q, want %q", back, w.Code, w.Header().Get("Location"), want)
		}
		if set := w.Header().Values("Set-Cookie"); len(set) != 1 || !strings.HasPrefix(set[0], "lang=zh-CN") {
			t.Errorf("cookies %q, want the language alone", set)
		}
	}
}

// TestContrast holds the pairs of text and ground that occur to 4.5:1 in both themes.
func TestContrast(t *testing.T) {
	b, err := os.ReadFile("static/css/tokens.css")
	if err != nil {
		t.Fatal(err)
	}
	colours := map[string][2]string{}
	for _, m := range regexp.MustCompile(`--([a-z0-9-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)`).FindAllStringSubmatch(string(b), -1) {
		colours[m[1]] = [2]string{m[2], m[3]}
	}
	for _, pair := range []string{
		"text bg", "text bg-side", "text bg-active", "text mention", "text-2 bg", "text-2 bg-side", "text-2 bg-hover", "text-2 bg-active",
		"text-3 bg", "text-3 bg-side", "text-3 bg-hover", "text-3 bg-raised", "accent bg", "accent bg-side", "accent accent-soft",
		"accent-text accent", "accent-text accent-strong", "danger bg", "danger bg-raised", "text danger-soft",
	} {
		fg, bg, _ := strings.Cut(pair, " ")
		for i, theme := range []string{"light", "dark"} {
			if colours[fg][i] == "" || colours[bg][i] == "" {
				t.Fatalf("%s: not in tokens.css", pair)
			}
			if c := contrast(t, colours[fg][i], colours[bg][i]); c < 4.5 {
				t.Errorf("%s in %s: %.2f:1", pair, theme, c)
			}
		}
	}
}

// contrast is the ratio of WCAG 2.2, section 1.4.3.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (math.Max(x, y) + 0.05) / (math.Min(x, y) + 0.05)
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	var sum float64
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		v := float64(n) / 255
		if v <= 0.03928 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}
