package protocol

import (
	"encoding/base64"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// This file reads and writes JSON by the schema's descriptors. The form is
// proto3 JSON with field names as they stand in the schema, 64-bit integers
// as numbers, and the fields named payload, which hold JSON text, as the JSON
// value they hold.

const payloadField = "payload"

// message reads an object into m. Unknown keys are ignored.
func (s *scanner) message(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	s.object(func(key string) {
		if fd := fields.ByName(protoreflect.Name(key)); fd != nil {
			s.field(m, fd)
		} else {
			s.skip()
		}
	})
}

func (s *scanner) field(m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	if fd.Name() == payloadField {
		m.Set(fd, protoreflect.ValueOfBytes(s.raw()))
		return
	}
	if s.null() {
		return
	}
	switch {
	case fd.IsMap():
		into := m.Mutable(fd).Map()
		for k, v := range s.strings() {
			into.Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfString(v))
		}
	case fd.IsList():
		list := m.Mutable(fd).List()
		s.array(func() {
			item := list.NewElement()
			s.message(item.Message())
			list.Append(item)
		})
	case fd.Kind() == protoreflect.MessageKind:
		s.message(m.Mutable(fd).Message())
	default:
		m.Set(fd, s.scalar(fd.Kind()))
	}
}

func (s *scanner) scalar(kind protoreflect.Kind) protoreflect.Value {
	switch kind {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(s.bool())
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(s.uint(32)))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(s.uint(64))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(s.int64())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(s.bytes())
	default:
		return protoreflect.ValueOfString(s.string())
	}
}

// appendJSON writes m as an object. With zeros, numbers and booleans are
// written even when they are zero, so that a reader sees every answer; the
// top level's id, which is absent rather than zero, is not.
func appendJSON(dst []byte, m protoreflect.Message, zeros bool) []byte {
	fields := m.Descriptor().Fields()
	dst = append(dst, '{')
	first := true
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) && !(zeros && writesZero(fd)) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		dst = append(dst, fd.Name()...)
		dst = append(dst, '"', ':')
		dst = appendValue(dst, fd, m.Get(fd), zeros)
	}
	return append(dst, '}')
}

func writesZero(fd protoreflect.FieldDescriptor) bool {
	if fd.IsList() || fd.HasPresence() || fd.Name() == "id" {
		return false
	}
	switch fd.Kind() {
	case protoreflect.BoolKind, protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Int64Kind:
		return true
	}
	return false
}

func appendValue(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value, zeros bool) []byte {
	switch {
	case fd.IsMap():
		m := make(map[string]string, v.Map().Len())
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			m[k.String()] = v.String()
			return true
		})
		return appendStrings(dst, m)
	case fd.IsList():
		dst = append(dst, '[')
		for i := range v.List().Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, v.List().Get(i).Message(), zeros)
		}
		return append(dst, ']')
	}
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return appendJSON(dst, v.Message(), zeros)
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return strconv.AppendUint(dst, v.Uint(), 10)
	case protoreflect.Int64Kind:
		return strconv.AppendInt(dst, v.Int(), 10)
	case protoreflect.BytesKind:
		if fd.Name() == payloadField {
			return append(dst, v.Bytes()...)
		}
		return appendBase64(dst, v.Bytes())
	default:
		return appendString(dst, v.String())
	}
}

func appendBase64(dst, data []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, '"')
}

// appendText writes a key with its string, or nothing for an empty one.
func appendText(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, key...), value)
}

// appendStrings writes m with its keys sorted, so that equal messages have
// equal encodings.
func appendStrings(dst []byte, m map[string]string) []byte {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, k)
		dst = append(dst, ':')
		dst = appendString(dst, m[k])
	}
	return append(dst, '}')
}

// appendString writes s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD, as encoding/json has it.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), `\ufffd`...)
				start = i + 1
			}
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
