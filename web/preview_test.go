package web_test

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/parleyhq/parley/web"
)

// newSite is a Site at the moment the fixtures were made for.
func newSite(t *testing.T) *web.Site {
	t.Helper()
	site, err := web.New(web.Options{Now: func() time.Time { return fixedNow }})
	if err != nil {
		t.Fatal(err)
	}
	return site
}

// previewHandler shows the fixtures with the preferences of the request.
func previewHandler(t *testing.T, site *web.Site) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("GET /static/", site.Assets())
	mux.HandleFunc("POST /preferences", site.SetPreferences)
	for path, fixture := range pages() {
		if path == "/" {
			path = "/{$}"
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			p := fixture()
			web.Prefer(p, web.PreferencesOf(r))
			if err := site.Render(w, http.StatusOK, p); err != nil {
				t.Error(err)
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	return mux
}

// TestPreview serves the fixtures to a browser while it runs:
//
//	PARLEY_PREVIEW=127.0.0.1:8090 go test ./web -run TestPreview -timeout 0
func TestPreview(t *testing.T) {
	addr := os.Getenv("PARLEY_PREVIEW")
	if addr == "" {
		t.Skip("PARLEY_PREVIEW names the address to serve the fixtures at")
	}
	srv := &http.Server{Addr: addr, Handler: previewHandler(t, newSite(t)), ReadHeaderTimeout: time.Minute}
	t.Log(srv.ListenAndServe())
}
