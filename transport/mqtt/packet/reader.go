package packet

// Reader cuts what a peer sends into packets. It holds memory only while a
// packet is incomplete. The zero Reader takes packets of any size.
type Reader struct {
	// Limit is the most bytes of a packet, its fixed header included, as in
	// the Maximum Packet Size property. 0: as many as the format can say.
	Limit int

	rest []byte // of a packet whose end has not come
}

// Feed takes the next bytes and calls handle with the header and the body of
// every complete packet. The body is valid only during the call. The error is
// an *Error, or handle's; nothing may be fed after it.
func (r *Reader) Feed(data []byte, handle func(h Header, body []byte) error) error {
	if len(r.rest) > 0 {
		r.rest = append(r.rest, data...)
		data = r.rest
	}
	before := len(data)
	for len(data) > 0 {
		size, length, err := r.measure(data)
		if err != nil {
			return err
		}
		if size == 0 || len(data) < size+length {
			break
		}
		h, body := Header(data[0]), data[size:size+length:size+length]
		data = data[size+length:]
		if err := handle(h, body); err != nil {
			return err
		}
	}
	switch {
	case len(data) == 0:
		r.rest = nil
	case len(data) < before || len(r.rest) == 0:
		r.rest = append([]byte(nil), data...)
	default: // nothing was complete: rest has it all, so that a packet in many pieces is copied once
	}
	return nil
}

// Incomplete reports whether the reader holds a part of a packet.
func (r *Reader) Incomplete() bool { return len(r.rest) > 0 }

// measure reads a fixed header: the bytes it takes, and those behind it. size
// is 0 while it is incomplete.
func (r *Reader) measure(b []byte) (size, length int, err error) {
	h := Header(b[0])
	if err := h.check(); err != nil {
		return 0, 0, err
	}
	v, n := varint(b[1:])
	switch {
	case n < 0:
		return 0, 0, MalformedPacket.Errorf("the remaining length of a %s is not a Variable Byte Integer [MQTT-1.5.5-1]", h.Kind())
	case n == 0:
		return 0, 0, nil
	case r.Limit > 0 && 1+n+int(v) > r.Limit:
		return 0, 0, PacketTooLarge.Errorf("a %s of %d bytes, where %d are allowed", h.Kind(), 1+n+int(v), r.Limit)
	}
	return 1 + n, int(v), nil
}
