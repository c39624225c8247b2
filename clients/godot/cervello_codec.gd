# The bridge's msgpack subset for Godot 3: a Dictionary is a map, raw bytes (PoolByteArray) are bin.
extends Resource

const DEEPEST = 8
const MOST_VALUES = 1048576 # in one frame: arrays and maps hold no more together, so that decoding costs a bounded memory

var error = "" # why the last decode or encode failed, else empty
var _in = StreamPeerBuffer.new()
var _out = StreamPeerBuffer.new()
var _text = StreamPeerBuffer.new()
var _size = 0
var _n_values = 0
var _type_bytes = typeof(StreamPeerBuffer.new().data_array)
var _type_array = typeof([])
var _type_map = typeof({})
var _type_float = typeof(0.5)


# Bytes of a value in their shortest form, of no length where `error` says why not.
func encode(value):
	error = ""
	_out.clear()
	_out.big_endian = true
	_put(value)
	var bytes = _out.data_array
	_out.clear()
	return bytes


func _count(count, fix, most, code_8, code_16, code_32):
	if count < most:
		_out.put_u8(fix + count)
	elif code_8 and count < 0x100:
		_out.put_u8(code_8)
		_out.put_u8(count)
	elif count < 0x10000:
		_out.put_u8(code_16)
		_out.put_u16(count)
	else:
		_out.put_u8(code_32)
		_out.put_u32(count)


func _put_int(value):
	if value >= 0:
		if value < 0x80:
			_out.put_u8(value)
		elif value < 0x100:
			_out.put_u8(0xcc)
			_out.put_u8(value)
		elif value < 0x10000:
			_out.put_u8(0xcd)
			_out.put_u16(value)
		elif value < 0x100000000:
			_out.put_u8(0xce)
			_out.put_u32(value)
		else:
			_out.put_u8(0xcf)
			_out.put_u64(value)
	elif value >= -0x20:
		_out.put_8(value)
	elif value >= -0x80:
		_out.put_u8(0xd0)
		_out.put_8(value)
	elif value >= -0x8000:
		_out.put_u8(0xd1)
		_out.put_16(value)
	elif value >= -0x80000000:
		_out.put_u8(0xd2)
		_out.put_32(value)
	else:
		_out.put_u8(0xd3)
		_out.put_64(value)


func _put(value):
	var type = typeof(value)
	if value == null:
		_out.put_u8(0xc0)
	elif type == TYPE_BOOL:
		_out.put_u8(0xc3 if value else 0xc2)
	elif type == TYPE_INT:
		_put_int(value)
	elif type == _type_float:
		_out.put_u8(0xcb)
		_out.put_double(value)
	elif type == TYPE_STRING:
		_text.clear()
		_text.put_utf8_string(value)
		_text.seek(0)
		var n_bytes = _text.get_u32()
		_count(n_bytes, 0xa0, 32, 0xd9, 0xda, 0xdb)
		if n_bytes > 0:
			_out.put_data(_text.get_data(n_bytes)[1])
	elif type == _type_bytes:
		_count(value.size(), 0, 0, 0xc4, 0xc5, 0xc6)
		if value.size() > 0:
			_out.put_data(value)
	elif type == _type_array:
		_count(value.size(), 0x90, 16, 0, 0xdc, 0xdd)
		for item in value:
			_put(item)
	elif type == _type_map:
		_count(value.size(), 0x80, 16, 0, 0xde, 0xdf)
		for key in value:
			_put(key)
			_put(value[key])
	else:
		error = "expected a bool, int, float, String, raw bytes, Array or Dictionary, got %s" % [value]


# The one value of a body; null where `error` says why not.
func decode(body):
	error = ""
	_n_values = 0
	_size = body.size()
	_in.data_array = body
	_in.seek(0)
	_in.big_endian = true
	var value = _get(1)
	if error == "" and _in.get_position() != _size:
		error = "bad frame: bytes after the value"
	_in.clear()
	return value if error == "" else null


func _room(n_bytes):
	if n_bytes <= _size - _in.get_position():
		return true
	error = "bad frame: the value is cut off"
	return false


func _length(width):
	if not _room(width):
		return 0
	return _in.get_u8() if width == 1 else _in.get_u16() if width == 2 else _in.get_u32()


func _bytes(count):
	if error != "" or not _room(count):
		return null
	return _in.get_data(count)[1] if count > 0 else StreamPeerBuffer.new().data_array


func _str(count):
	var bytes = _bytes(count)
	if error != "":
		return null
	if not _is_utf8(bytes):
		error = "bad frame: a str is not UTF-8"
		return null
	if count == 0:
		return ""
	_in.seek(_in.get_position() - count)
	return _in.get_utf8_string(count)


func _is_utf8(bytes):
	var more = 0
	var low = 0x80
	var high = 0xbf
	for byte in bytes:
		if more > 0:
			if byte < low or byte > high:
				return false
			more -= 1
			low = 0x80
			high = 0xbf
		elif byte >= 0x80:
			if byte < 0xc2 or byte > 0xf4:
				return false
			more = 1 if byte < 0xe0 else 2 if byte < 0xf0 else 3
			low = 0xa0 if byte == 0xe0 else 0x90 if byte == 0xf0 else 0x80
			high = 0x9f if byte == 0xed else 0x8f if byte == 0xf4 else 0xbf
	return more == 0


func _enter(count, level):
	if error == "" and level > DEEPEST:
		error = "bad frame: nested deeper than %d" % DEEPEST
	if error != "" or not _room(count):
		return false
	_n_values += count
	if _n_values > MOST_VALUES:
		error = "bad frame: more than %d values" % MOST_VALUES
	return error == ""


func _array(count, level):
	var items = []
	if not _enter(count, level):
		return null
	for _i in range(count):
		items.append(_get(level + 1))
		if error != "":
			return null
	return items


func _map(count, level):
	var items = {}
	if not _enter(2 * count, level):
		return null
	for _i in range(count):
		var key = _get(level + 1)
		if error == "" and (typeof(key) != TYPE_STRING or items.has(key)):
			error = "bad frame: a map key is not a str or comes twice"
		if error != "":
			return null
		items[key] = _get(level + 1)
		if error != "":
			return null
	return items


func _get(level):
	if not _room(1):
		return null
	var code = _in.get_u8()
	if code < 0x80:
		return code
	if code >= 0xe0:
		return code - 0x100
	if code < 0x90:
		return _map(code & 15, level)
	if code < 0xa0:
		return _array(code & 15, level)
	if code < 0xc0:
		return _str(code & 31)
	match code:
		0xc0:
			return null
		0xc2:
			return false
		0xc3:
			return true
		0xc4, 0xc5, 0xc6:
			return _bytes(_length(1 << (code - 0xc4)))
		0xca:
			return _in.get_float() if _room(4) else null
		0xcb:
			return _in.get_double() if _room(8) else null
		0xcc:
			return _in.get_u8() if _room(1) else null
		0xcd:
			return _in.get_u16() if _room(2) else null
		0xce:
			return _in.get_u32() if _room(4) else null
		0xcf:
			return _in.get_u64() if _room(8) else null
		0xd0:
			return _in.get_8() if _room(1) else null
		0xd1:
			return _in.get_16() if _room(2) else null
		0xd2:
			return _in.get_32() if _room(4) else null
		0xd3:
			return _in.get_64() if _room(8) else null
		0xd9, 0xda, 0xdb:
			return _str(_length(1 << (code - 0xd9)))
		0xdc, 0xdd:
			return _array(_length(2 << (code - 0xdc)), level)
		0xde, 0xdf:
			return _map(_length(2 << (code - 0xde)), level)
	error = "bad frame: byte 0x%x begins no value" % code
	return null


# float32 rows as bin, for `inputs` and `reward`.
func floats(values):
	var stream = StreamPeerBuffer.new()
	for value in values:
		stream.put_float(value)
	return stream.data_array


# Bin of float32 as an Array.
func to_floats(bin):
	var stream = StreamPeerBuffer.new()
	var values = []
	stream.data_array = bin
	for _i in range(bin.size() / 4):
		values.append(stream.get_float())
	return values


# Bin of int64 as an Array.
func to_ints(bin):
	var stream = StreamPeerBuffer.new()
	var values = []
	stream.data_array = bin
	for _i in range(bin.size() / 8):
		values.append(stream.get_64())
	return values
