// Package web draws the community: page templates, styles, plain ES modules, icons and the
// English and Chinese catalogues, all embedded in the binary.
//
// The package knows nothing of storage, sessions or sockets. The application fills one view
// model per page (views.go), registers the paths of urls.go, and calls [Site.Render]:
//
//	site, err := web.New(web.Options{Name: "Parley"})
//	r.GET("/static/*path", gin.WrapH(site.Assets()))
//	r.POST(web.PathPreferences, gin.WrapF(site.SetPreferences))
//	…
//	err = site.Render(c.Writer, http.StatusOK, &web.Home{Layout: l, Posts: posts})
//
// Every page reads and posts without JavaScript; the modules under static/js add the live parts.
// What they call and listen to over the socket is described in live.go.
package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
	"time"
)

//go:embed templates static i18n
var files embed.FS

// Options configure a Site. The zero value works.
type Options struct {
	// Name of the community, shown in the header and in page titles. Default "Parley".
	Name string
	// Now is the clock used for relative times. Default time.Now.
	Now func() time.Time
}

// Site renders pages and serves their assets. It is immutable after New and safe for
// concurrent use.
type Site struct {
	name       string
	now        func() time.Time
	assets     *assets
	catalogues catalogues
	pages      map[string]map[Lang]*template.Template
}

// New parses the embedded templates and catalogues. An error means the build is broken.
func New(o Options) (*Site, error) {
	if o.Name == "" {
		o.Name = "Parley"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	cats, err := loadCatalogues(files)
	if err != nil {
		return nil, err
	}
	as, err := newAssets(files)
	if err != nil {
		return nil, err
	}
	s := &Site{name: o.Name, now: o.Now, assets: as, catalogues: cats}
	if s.pages, err = s.parse(files); err != nil {
		return nil, err
	}
	return s, nil
}

// parse builds one template set per page and language: page + layout + shared parts.
func (s *Site) parse(fsys fs.FS) (map[string]map[Lang]*template.Template, error) {
	names, err := fs.Glob(fsys, "templates/pages/*.html")
	if err != nil {
		return nil, err
	}
	out := make(map[string]map[Lang]*template.Template, len(names))
	for _, name := range names {
		key := name[len("templates/pages/") : len(name)-len(".html")]
		out[key] = make(map[Lang]*template.Template, len(s.catalogues))
		for lang := range s.catalogues {
			t, err := template.New("layout.html").Funcs(s.funcs(lang)).
				ParseFS(fsys, "templates/layout.html", "templates/parts/*.html", name)
			if err != nil {
				return nil, fmt.Errorf("web: page %s: %w", key, err)
			}
			out[key][lang] = t
		}
	}
	return out, nil
}

// Page is a view model that Render can draw: a pointer to one of the structs in views.go.
type Page interface {
	page() string
	layout() *Layout
}

// Render writes one page with its status and headers. The page is drawn into memory first, so
// an error leaves w untouched and the caller can still answer with an error page.
func (s *Site) Render(w http.ResponseWriter, status int, p Page) error {
	l := p.layout()
	l.prepare(s)
	t, ok := s.pages[p.page()][l.Lang]
	if !ok {
		return fmt.Errorf("web: no page %q in %q", p.page(), l.Lang)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "layout.html", p); err != nil {
		return fmt.Errorf("web: render %s: %w", p.page(), err)
	}
	h := w.Header()
	SecurityHeaders(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", string(l.Lang))
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "private, no-cache")
	}
	h.Add("Vary", "Cookie, Accept-Language")
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return err
}

// SecurityHeaders sets the policy every page is written for: scripts, styles, images and
// sockets from this origin only, nothing inline, no framing.
func SecurityHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "+
		"img-src 'self' data:; connect-src 'self'; manifest-src 'self'; form-action 'self'; "+
		"base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}
