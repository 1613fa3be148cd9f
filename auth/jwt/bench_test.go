package jwt_test

import (
	"testing"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/jwt"
)

func BenchmarkVerify(b *testing.B) {
	k, err := jwt.HS256(secret, jwt.Config{})
	if err != nil {
		b.Fatal(err)
	}
	token, err := k.Sign(auth.Identity{User: "u123", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		b.Fatal(err)
	}
	ring := jwt.Ring{k}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
