package web

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
)

// assets are the static files under one URL prefix that holds the hash of them all, so that
// modules import each other by relative paths and everything may be cached for good.
type assets struct {
	prefix string // "/static/<hash>/"
	files  map[string]asset
}

type asset struct {
	body []byte
	kind string
}

func newAssets(fsys fs.FS) (*assets, error) {
	a := &assets{files: make(map[string]asset)}
	sum := sha256.New()
	add := func(root string) error {
		return fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			body, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			sum.Write([]byte(name))
			sum.Write(body)
			a.files[strings.TrimPrefix(name, "static/")] = asset{body: body, kind: kindOf(name)}
			return nil
		})
	}
	for _, root := range []string{"static", "i18n"} {
		if err := add(root); err != nil {
			return nil, err
		}
	}
	a.prefix = PathStatic + hex.EncodeToString(sum.Sum(nil))[:12] + "/"
	return a, nil
}

// kindOf does not ask the machine's MIME table: a wrong entry there would stop every module.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".json":
		return "application/json"
	case ".webmanifest":
		return "application/manifest+json"
	default:
		return mime.TypeByExtension(path.Ext(name))
	}
}

func (a *assets) url(name string) string { return a.prefix + name }

// modules are the addresses of all modules but the first, which pages announce so that a browser
// need not read one to learn of the next.
func (a *assets) modules() []string {
	var out []string
	for name := range a.files {
		if strings.HasPrefix(name, "js/") && name != "js/app.js" && name != "js/types.js" {
			out = append(out, a.url(name))
		}
	}
	slices.Sort(out)
	return out
}

// Assets serves the paths under /static/. The current hash is cached for a year; an older one
// (a page that was open over an upgrade) gets today's file and is asked again next time.
func (s *Site) Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		_, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, PathStatic), "/")
		f, ok := s.assets.files[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.kind)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		if strings.HasPrefix(r.URL.Path, s.assets.prefix) {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		if r.Method == http.MethodGet {
			_, _ = w.Write(f.body) // the reader left: nobody to tell
		}
	})
}
