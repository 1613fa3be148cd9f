// Package js holds the JavaScript client as a file of this binary, so that a
// server can hand out the very module that its pages and its users import.
package js

import _ "embed"

//go:embed parley.js
var module string

// Module returns parley.js: one ES module without dependencies, in UTF-8.
func Module() string { return module }
