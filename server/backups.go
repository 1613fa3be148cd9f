package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/community"
	"github.com/parleyhq/parley/server/backup"
)

// pathBackup is beside the REST API and for the same keys: what it gives away
// is everything.
const pathBackup = pathREST + "/backup"

// backups answers requests for a backup, one at a time, and hands all others on.
func (s *Server) backups(others http.Handler) gin.HandlerFunc {
	turn := make(chan struct{}, 1)
	return func(c *gin.Context) {
		if c.Request.URL.Path != pathBackup {
			others.ServeHTTP(c.Writer, c.Request)
			return
		}
		refuse := func(status int, reason, text string) {
			c.AbortWithStatusJSON(status, gin.H{"error": gin.H{"reason": reason, "message": text}})
		}
		switch {
		case c.Request.Method != http.MethodPost:
			refuse(http.StatusMethodNotAllowed, "bad_request", "a backup is asked for with POST")
			return
		case !s.mayBackUp(c.Request):
			refuse(http.StatusUnauthorized, "unauthorized", "send the header Authorization: Bearer with the API key of this server")
			return
		}
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
			s.backUp(c)
		default:
			refuse(http.StatusConflict, "overloaded", "a backup is being made already: come back when it is done")
		}
	}
}

// mayBackUp tells whether a request has one of the API keys. A user's token is
// not enough.
func (s *Server) mayBackUp(r *http.Request) bool {
	given := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	found := 0
	for _, key := range s.cfg.APIKeys {
		want := sha256.Sum256([]byte(key))
		found |= subtle.ConstantTimeCompare(given[:], want[:])
	}
	return found == 1
}

// backUp streams a backup. When it fails midway the archive ends without its
// list, by which whoever reads it knows.
func (s *Server) backUp(c *gin.Context) {
	source := backup.Source{Folder: s.dir.Path(), Server: parley.Version()}
	if s.app != nil {
		source.Community = func(ctx context.Context, to string) error {
			return community.Backup(ctx, s.dir.File("community.db"), to)
		}
	}
	if s.engine.data != nil {
		source.Store = s.engine.data.Backup
	}
	// As long as it takes; what a stuck reader holds up is a turn and a folder.
	if err := http.NewResponseController(c.Writer).SetWriteDeadline(time.Time{}); err != nil {
		s.log.Warn("a long backup may be cut off", "error", err)
	}
	c.Header("Content-Type", "application/x-tar")
	c.Header("Cache-Control", "no-store")
	if err := backup.Write(c.Request.Context(), c.Writer, source); err != nil {
		s.log.Error("a backup failed", "error", err)
		if !c.Writer.Written() {
			c.Header("Content-Type", "application/json")
			c.AbortWithStatusJSON(http.StatusInternalServerError, gin.H{"error": gin.H{"reason": "internal", "message": err.Error()}})
		}
		return
	}
	s.log.Info("a backup was made", "by", c.ClientIP())
}
