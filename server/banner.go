package server

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/parleyhq/parley"
)

// URL is the address to open in a browser.
func (s *Server) URL() string {
	if s.cfg.PublicURL != "" {
		return strings.TrimSuffix(s.cfg.PublicURL, "/")
	}
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return "http://" + s.listener.Addr().String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// banner says where to click. The admin's password is shown here and nowhere
// else: not in the log, which is kept.
func (s *Server) banner() {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "\nParley %s\n\n", parley.Version())
	line("Open", "%s", s.URL())
	if s.first.Password != "" {
		line("Sign in", "%s  with password  %s", s.first.Handle, s.first.Password)
		line("", "This is shown once. Change it under Settings.")
	}
	if len(s.cfg.APIKeys) == 0 {
		line("REST", "%s%s/docs  (start with PARLEY_API_KEY to let your backend in)", s.URL(), pathREST)
	} else {
		line("REST", "%s%s/docs", s.URL(), pathREST)
	}
	for _, p := range s.ports {
		line(p.name, "%s", p.listener.Addr())
	}
	data, err := filepath.Abs(s.dir.Path())
	if err != nil {
		data = s.dir.Path()
	}
	line("Data", "%s", data)
	line("Stop", "Ctrl+C")
	b.WriteString("\n")
	_, _ = fmt.Fprint(s.out, b.String()) // a closed terminal does not stop a server
}
