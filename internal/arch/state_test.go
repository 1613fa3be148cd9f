package arch

import (
	"strings"
	"testing"
)

func TestStateCanFail(t *testing.T) {
	t.Parallel()
	const imports = "package p\nimport (\n\"errors\"; \"sync\"; \"sync/atomic\"; \"context\"; \"regexp\"; \"net/http\"; \"flag\"\n)\n"
	for name, c := range map[string]struct{ text, want string }{
		"an error":             {`var ErrX = errors.New("x")`, ""},
		"an error with fields": {`type E struct{ Code int }; var errX = &E{1}`, ""},
		"a pattern":            {"var re = regexp.MustCompile(`x`)", ""},
		"a table":              {`var t = map[string]int{"a": 1}; func f() int { return t["a"] }`, ""},
		"a computed table":     {`var t = build(); func build() [256]bool { return [256]bool{} }`, ""},
		"an assertion":         {`type T int; var _ http.Handler = (*T)(nil)`, ""},
		"a pool":               {`var pool = sync.Pool{New: func() any { return 1 }}`, ""},
		"worked out once":      {`var once = sync.OnceValue(func() int { return 1 })`, ""},
		"a local of that name": {`var x = 1; func f() { x := 2; x = 3; _ = x }`, ""},
		"a parameter":          {`var x = 1; func f(x int) { x++ }`, ""},
		"a field of that name": {`var x = 1; type s struct{ x int }; func (v *s) f() { v.x = 2 }`, ""},

		"assigned":           {`var x = 1; func f() { x = 2 }`, "assigns to x"},
		"assigned elsewhere": {`func f() { elsewhere = 2 }`, "assigns to elsewhere"},
		"counted":            {`var x = 1; func f() { x++ }`, "counts in x"},
		"ranged":             {`var x = 1; func f() { for x = range 3 {} }`, "assigns to x"},
		"entry set":          {`var t = map[string]int{"a": 1}; func f() { t["b"] = 2 }`, "assigns to t"},
		"entry removed":      {`var t = map[string]int{"a": 1}; func f() { delete(t, "a") }`, "deletes in t"},
		"field set":          {`type S struct{ a int }; var s = S{}; func f() { s.a = 1 }`, "assigns to s"},
		"address taken":      {`var x = 1; func f() *int { return &x }`, "takes the address of x"},
		"another package's":  {`func f() { http.DefaultClient.Timeout = 1 }`, "assigns to http.DefaultClient"},

		"a lock":             {`var mu sync.Mutex`, "is of a type that exists to change"},
		"a counter":          {`var n atomic.Int64`, "is of a type that exists to change"},
		"a generic counter":  {`var n atomic.Pointer[int]`, "is of a type that exists to change"},
		"a channel":          {`var c chan int`, "is of a type that exists to change"},
		"a made channel":     {`var c = make(chan int)`, "is made by make"},
		"a hidden lock":      {`type r struct{ mu sync.Mutex }; var reg = r{}`, "is of a type that exists to change"},
		"a made map":         {`var m = make(map[string]int)`, "is made by make"},
		"an empty map":       {`var m = map[string]int{}`, "empty map"},
		"a pointer":          {`type r struct{}; var reg = &r{}`, "points to something"},
		"a made registry":    {`type r struct{}; var reg = newR(); func newR() *r { return nil }`, "is made by newR"},
		"a cancel":           {`var stop context.CancelFunc`, "is of a type that exists to change"},
		"a flag in the code": {`var debug = flag.Bool("d", false, "")`, "is made by flag.Bool"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := State(source(t, map[string]string{
				"hub/a.go": imports + strings.ReplaceAll(c.text, "; ", "\n") + "\n",
				"hub/b.go": "package p\nvar elsewhere = 1\n",
			}))
			if c.want == "" {
				expect(t, found)
			} else {
				expect(t, found, c.want)
			}
		})
	}
}

func TestStateInTests(t *testing.T) {
	t.Parallel()
	expect(t, State(source(t, map[string]string{"hub/a_test.go": "package p\nimport \"flag\"\nvar u = flag.Bool(\"u\", false, \"\")\n"})))
	expect(t, State(source(t, map[string]string{
		"hub/a.go":      "package p\nvar x = 1\n",
		"hub/a_test.go": "package p\nfunc f() { x = 2 }\n",
	})), "hub/a_test.go:2: assigns to x")
}
