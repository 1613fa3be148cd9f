package rest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkPublish is what one request costs behind net/http.
func BenchmarkPublish(b *testing.B) {
	api := openBench(b, nil).api
	const body = `{"topic":"public/a","type":"t","payload":{"text":"hello, who is there?"}}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, Prefix+"/publish", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}
