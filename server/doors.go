package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/server/listen"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport/frame"
	"github.com/parleyhq/parley/transport/mqtt"
	"github.com/parleyhq/parley/transport/websocket"
)

// door is one transport as the server opens it.
type door struct {
	name string
	// mount adds its routes to the HTTP server; nil when it has none. identify
	// says by the community's cookie who makes a request, and calls nothing when
	// it does not know.
	mount func(r *gin.Engine, identify gin.HandlerFunc) error
	// ports are the sockets of its own.
	ports []port
}

// port is a socket of its own that a transport listens on.
type port struct {
	name    string // shown to people, as Frame or MQTT
	setting string // the flag that chooses the address
	addr    string // host:port, or "" for a port that stays closed
	// serve is called once and returns after the listener is closed. The
	// connections it has accepted are the transport's: Live.Shutdown ends them
	// and waits for it (Live.Join).
	serve    func(net.Listener) error
	listener net.Listener
}

// openDoors makes every transport and listens on their ports.
func (s *Server) openDoors(ctx context.Context) error {
	for _, open := range transports() {
		d := open(s)
		s.doors = append(s.doors, d)
		for _, p := range d.ports {
			if p.addr == "" {
				continue
			}
			l, err := listen.Config().Listen(ctx, "tcp", p.addr)
			if err != nil {
				return fmt.Errorf("cannot listen on %s (choose another address with --%s): %w", p.addr, p.setting, err)
			}
			p.listener = l
			s.ports = append(s.ports, p)
		}
	}
	return nil
}

// servePorts accepts connections until the ports are closed. What fails goes
// to served.
func (s *Server) servePorts(served chan<- error) {
	for _, p := range s.ports {
		s.log.Info("listening", "transport", p.name, "address", p.listener.Addr().String())
		s.accepting.Go(func() {
			if err := p.serve(p.listener); err != nil && !errors.Is(err, net.ErrClosed) {
				served <- fmt.Errorf("%s: %w", p.name, err)
			}
		})
	}
}

// closePorts lets nobody in any more.
func (s *Server) closePorts() error {
	var errs []error
	for _, p := range s.ports {
		if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.accepting.Wait()
	return errors.Join(errs...)
}

// PortAddr is where the transport listens that is known to people by this name;
// nil when it does not.
func (s *Server) PortAddr(name string) net.Addr {
	for _, p := range s.ports {
		if p.name == name {
			return p.listener.Addr()
		}
	}
	return nil
}

func webSocketDoor(s *Server) door {
	return door{name: "websocket", mount: func(r *gin.Engine, identify gin.HandlerFunc) error {
		r.GET(pathLive, identify, s.live.Handler())
		return nil
	}}
}

// front has the sockets' handshakes answered without net/http where they need
// nothing of it; they are logged and timed as if they did.
func (s *Server) front(l net.Listener) net.Listener {
	const status = http.StatusSwitchingProtocols
	seconds := s.requests.With(prometheus.Labels{"route": pathLive, "code": strconv.Itoa(status)})
	return s.live.Front(l, parley.FrontConfig{
		Path: pathLive, Wait: s.http.ReadHeaderTimeout,
		Taken: func(address string, took time.Duration) {
			seconds.Observe(took.Seconds())
			ctx := context.Background()
			if !s.log.Enabled(ctx, slog.LevelDebug) {
				return
			}
			s.log.LogAttrs(ctx, slog.LevelDebug, "request", slog.String("request", newRequestID()),
				slog.String("method", http.MethodGet), slog.String("path", pathLive), slog.Int("status", status), tookMS(took),
				slog.String("address", address))
		},
	})
}

func restDoor(s *Server) door {
	return door{name: "rest", mount: func(r *gin.Engine, _ gin.HandlerFunc) error {
		api, err := s.live.REST(parley.RESTConfig{Keys: s.cfg.APIKeys, Prefix: pathREST})
		if err != nil {
			return err
		}
		r.Any(pathREST+"/*path", s.backups(api))
		return nil
	}}
}

// mqttDoor opens MQTT over WebSocket, and on a port of its own where one is
// configured.
func mqttDoor(s *Server) door {
	var packets *mqtt.Server
	var sockets *websocket.Server
	s.live.Join(func(m *session.Manager) parley.Transport {
		packets = mqtt.New(m, mqtt.Config{KeepAlive: s.cfg.MQTTKeepAlive, Redirect: s.cfg.MQTTRedirect, Log: s.log})
		return packets
	})
	s.live.Join(func(m *session.Manager) parley.Transport {
		sockets = websocket.New(m, s.log)
		return sockets
	})
	return door{
		name: "mqtt",
		mount: func(r *gin.Engine, identify gin.HandlerFunc) error {
			tunnel := &websocket.Tunnel{Names: []string{"mqtt", "mqttv3.1"}, Limit: 4 * packets.PacketLimit(), Open: packets.Open}
			r.GET(pathMQTT, identify, s.live.Upgrade(sockets.Tunnel(tunnel)))
			return nil
		},
		ports: []port{{name: "MQTT", setting: "mqtt-addr", addr: s.cfg.MQTTAddr, serve: packets.Serve}},
	}
}

func sseDoor(s *Server) door {
	return door{name: "sse", mount: func(r *gin.Engine, identify gin.HandlerFunc) error {
		for path, listen := range map[string]gin.HandlerFunc{pathSSE: s.live.SSE(), pathPoll: s.live.Poll()} {
			r.GET(path, identify, listen)
			r.OPTIONS(path, listen) // what a page of another origin asks first
		}
		return nil
	}}
}

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
