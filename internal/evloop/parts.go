package evloop

// Parts are frames that are sent as one, with nothing between them: such as
// what all receivers of a message share, and the little that is one's own. Those
// behind a nil are not sent.
type Parts [5]*[]byte

// Size returns the bytes of all parts.
func (p *Parts) Size() (n int) {
	for _, frame := range p {
		if frame == nil {
			break
		}
		n += len(*frame)
	}
	return n
}

// SendParts is Send for parts: all of them are queued, or none.
func (c *Conn) SendParts(p Parts, room int) bool {
	size := p.Size()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.flags&ending != 0:
		return true
	case c.queued > 0 && c.queued+size > room:
		return false
	}
	for _, frame := range p {
		if frame == nil {
			break
		}
		c.push(frame)
	}
	return true
}

// Keeps reports whether Offer would take a frame of so many bytes. If not,
// Refill is called as with Offer.
func (c *Conn) Keeps(size, room int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fits(size, room)
}
