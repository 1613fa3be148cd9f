package packet

import (
	"encoding/binary"
	"iter"
	"slices"
)

// Properties are the properties of a packet (§2.2.2) as they stand on the
// wire, without their length in front. Nil has none. Those that Decode returns
// were checked: every one may stand in that packet, has a value it may have,
// and only those that may be repeated are.
type Properties []byte

// Number is a property that is a number.
type Number byte

// Text is a property that is a string or binary data. User properties, which
// are two strings, have methods of their own.
type Text byte

// The properties that are numbers.
const (
	PayloadFormatIndicator Number = 0x01
	MessageExpiryInterval  Number = 0x02
	SubscriptionIdentifier Number = 0x0B
	SessionExpiryInterval  Number = 0x11
	ServerKeepAlive        Number = 0x13
	RequestProblemInfo     Number = 0x17
	WillDelayInterval      Number = 0x18
	RequestResponseInfo    Number = 0x19
	ReceiveMaximum         Number = 0x21
	TopicAliasMaximum      Number = 0x22
	TopicAlias             Number = 0x23
	MaximumQoS             Number = 0x24
	RetainAvailable        Number = 0x25
	MaximumPacketSize      Number = 0x27
	WildcardAvailable      Number = 0x28
	SubscriptionIDs        Number = 0x29 // whether subscription identifiers are available
	SharedAvailable        Number = 0x2A
)

// The properties that are text, or bytes where it says so.
const (
	ContentType              Text = 0x03
	ResponseTopic            Text = 0x08
	CorrelationData          Text = 0x09 // bytes
	AssignedClientIdentifier Text = 0x12
	AuthenticationMethod     Text = 0x15
	AuthenticationData       Text = 0x16 // bytes
	ResponseInformation      Text = 0x1A
	ServerReference          Text = 0x1C
	ReasonString             Text = 0x1F
)

const userProperty = 0x26

// form is how the value of a property is written.
type form byte

const (
	none form = iota
	octet
	flag // an octet that is 0 or 1
	short
	long
	variable
	text
	data
	pair
)

// A property is what §2.2.2.2 says about one identifier.
type property struct {
	form form
	in   kinds
	some bool // it must not be 0
}

// The packets that properties of one purpose may stand in.
const (
	inMessage    kinds = 1<<PUBLISH | 1<<will
	inHandshake  kinds = 1<<CONNECT | 1<<CONNACK
	inExchange   kinds = inHandshake | 1<<AUTH
	inAnswer     kinds = 1<<CONNACK | 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP | 1<<SUBACK | 1<<UNSUBACK | 1<<DISCONNECT | 1<<AUTH
	inEverything kinds = inAnswer | inMessage | 1<<CONNECT | 1<<SUBSCRIBE | 1<<UNSUBSCRIBE
)

// known are all properties by identifier.
var known = [...]property{
	PayloadFormatIndicator:   {flag, inMessage, false},
	MessageExpiryInterval:    {long, inMessage, false},
	ContentType:              {text, inMessage, false},
	ResponseTopic:            {text, inMessage, false},
	CorrelationData:          {data, inMessage, false},
	SubscriptionIdentifier:   {variable, 1<<PUBLISH | 1<<SUBSCRIBE, true},
	SessionExpiryInterval:    {long, inHandshake | 1<<DISCONNECT, false},
	AssignedClientIdentifier: {text, 1 << CONNACK, false},
	ServerKeepAlive:          {short, 1 << CONNACK, false},
	AuthenticationMethod:     {text, inExchange, false},
	AuthenticationData:       {data, inExchange, false},
	RequestProblemInfo:       {flag, 1 << CONNECT, false},
	WillDelayInterval:        {long, 1 << will, false},
	RequestResponseInfo:      {flag, 1 << CONNECT, false},
	ResponseInformation:      {text, 1 << CONNACK, false},
	ServerReference:          {text, 1<<CONNACK | 1<<DISCONNECT, false},
	ReasonString:             {text, inAnswer, false},
	ReceiveMaximum:           {short, inHandshake, true},
	TopicAliasMaximum:        {short, inHandshake, false},
	TopicAlias:               {short, 1 << PUBLISH, true},
	MaximumQoS:               {flag, 1 << CONNACK, false},
	RetainAvailable:          {flag, 1 << CONNACK, false},
	userProperty:             {pair, inEverything, false},
	MaximumPacketSize:        {long, inHandshake, true},
	WildcardAvailable:        {flag, 1 << CONNACK, false},
	SubscriptionIDs:          {flag, 1 << CONNACK, false},
	SharedAvailable:          {flag, 1 << CONNACK, false},
}

// properties reads the length of a list of properties, and the list.
func (s *scanner) properties(of Kind) Properties {
	list := s.take(int(s.varint()))
	if len(list) == 0 {
		return nil
	}
	in := scanner{kind: s.kind, rest: list}
	var seen uint64
	for len(in.rest) > 0 {
		in.property(of, &seen)
	}
	if in.err != nil {
		s.fail(in.err)
		return nil
	}
	return list
}

// property checks the next property of a list; seen has a bit for each
// identifier so far.
func (s *scanner) property(of Kind, seen *uint64) {
	id := s.varint()
	if s.err != nil {
		return
	}
	if id >= uint32(len(known)) || !known[id].in.has(of) {
		s.fail(MalformedPacket.Errorf("property %#02x may not stand in a %s (§2.2.2.2)", id, s.kind))
		return
	}
	repeats := id == userProperty || id == uint32(SubscriptionIdentifier) && of == PUBLISH
	if *seen>>id&1 != 0 && !repeats {
		s.fail(ProtocolError.Errorf("property %#02x stands twice in a %s (§2.2.2.2)", id, s.kind))
		return
	}
	*seen |= 1 << id
	p := known[id]
	number, value := s.value(p.form)
	if s.err != nil {
		return
	}
	switch {
	case p.form == flag && number > 1:
		s.fail(ProtocolError.Errorf("property %#02x of a %s is %d, and must be 0 or 1", id, s.kind, number))
	case p.some && number == 0 && id == uint32(TopicAlias):
		s.fail(TopicAliasInvalid.Errorf("a topic alias of 0 [MQTT-3.3.2-8]"))
	case p.some && number == 0:
		s.fail(ProtocolError.Errorf("property %#02x of a %s is 0, and must not be", id, s.kind))
	case id == uint32(ResponseTopic) && wild(value):
		s.fail(ProtocolError.Errorf("the response topic of a %s holds a wildcard [MQTT-3.3.2-14]", s.kind))
	}
}

// value reads a value: a number, or the bytes of a text. Of a pair they are
// the second's.
func (s *scanner) value(f form) (number uint32, value []byte) {
	switch f {
	case octet, flag:
		return uint32(s.byte()), nil
	case short:
		return uint32(s.uint16()), nil
	case long:
		return s.uint32(), nil
	case variable:
		return s.varint(), nil
	case data:
		return 0, s.binary()
	case text:
		return 0, s.text()
	case pair:
		s.text()
		return 0, s.text()
	case none:
	}
	s.fail(MalformedPacket.Errorf("a %s holds a property of no form", s.kind))
	return 0, nil
}

// entry is one property of a list that was checked.
type entry struct {
	number      uint32
	name, value []byte // name is a user property's
}

// all yields the properties in their order.
func (p Properties) all() iter.Seq2[byte, entry] {
	return func(yield func(byte, entry) bool) {
		s := scanner{rest: p}
		for len(s.rest) > 0 {
			id := s.varint()
			if id >= uint32(len(known)) {
				return
			}
			var e entry
			switch f := known[id].form; f {
			case text, data: // as in binary: UTF-8 was checked before
				e.value = s.binary()
			case pair:
				e.name, e.value = s.binary(), s.binary()
			default:
				e.number, _ = s.value(f)
			}
			if s.err != nil || !yield(byte(id), e) {
				return
			}
		}
	}
}

// Number returns a property, or what its absence means.
func (p Properties) Number(id Number, absent uint32) uint32 {
	for i, e := range p.all() {
		if i == byte(id) {
			return e.number
		}
	}
	return absent
}

// Has reports whether a number is there.
func (p Properties) Has(id Number) bool {
	for i := range p.all() {
		if i == byte(id) {
			return true
		}
	}
	return false
}

// Text returns a property, and whether it is there.
func (p Properties) Text(id Text) ([]byte, bool) {
	for i, e := range p.all() {
		if i == byte(id) {
			return e.value, true
		}
	}
	return nil, false
}

// User yields names and values of the user properties in their order. A name
// may come more than once.
func (p Properties) User() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i, e := range p.all() {
			if i == userProperty && !yield(e.name, e.value) {
				return
			}
		}
	}
}

// Subscriptions yields the subscription identifiers of a PUBLISH.
func (p Properties) Subscriptions() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i, e := range p.all() {
			if i == byte(SubscriptionIdentifier) && !yield(e.number) {
				return
			}
		}
	}
}

// ParseProperties checks a list as that of a PUBLISH.
func ParseProperties(list []byte) (Properties, bool) {
	s := scanner{kind: PUBLISH, rest: list}
	var seen uint64
	for len(s.rest) > 0 {
		s.property(PUBLISH, &seen)
	}
	return list, s.err == nil
}

// Without returns a copy that lacks some numbers.
func (p Properties) Without(ids ...Number) Properties {
	var out Properties
	s := scanner{rest: p}
	for len(s.rest) > 0 {
		before := s.rest
		id := s.varint()
		if id >= uint32(len(known)) {
			break
		}
		s.value(known[id].form)
		if s.err != nil {
			break
		}
		if !slices.Contains(ids, Number(id)) {
			out = append(out, before[:len(before)-len(s.rest)]...)
		}
	}
	return out
}

// AppendNumber appends a number, which must fit its form.
func (p Properties) AppendNumber(id Number, v uint32) Properties {
	p = append(p, byte(id))
	switch known[id].form {
	case short:
		return binary.BigEndian.AppendUint16(p, uint16(v))
	case long:
		return binary.BigEndian.AppendUint32(p, v)
	case variable:
		return appendVarint(p, v)
	default:
		return append(p, byte(v))
	}
}

// AppendText appends a text, of which 65,535 bytes are sent at most.
func (p Properties) AppendText(id Text, v string) Properties {
	return appendText(append(p, byte(id)), v)
}

// AppendUser appends a user property. Of either part 65,535 bytes are sent at
// most.
func (p Properties) AppendUser(name, value string) Properties {
	return appendText(appendText(append(p, userProperty), name), value)
}

// size is what the list takes with its length.
func (p Properties) size() int { return varintSize(len(p)) + len(p) }

func (p Properties) append(dst []byte) []byte {
	return append(appendVarint(dst, uint32(len(p))), p...)
}
