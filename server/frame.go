package server

import (
	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport/frame"
)

func frameDoor(s *Server) door {
	d := door{name: "frame"}
	if s.cfg.FrameAddr == "" {
		return d
	}
	var frames *frame.Server
	s.live.Join(func(m *session.Manager) parley.Transport {
		frames = frame.New(m, s.log)
		return frames
	})
	d.ports = []port{{name: "Frame", setting: "frame-addr", addr: s.cfg.FrameAddr, serve: frames.Serve}}
	return d
}
