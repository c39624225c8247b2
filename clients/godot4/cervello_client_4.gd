# Client of the Cervello bridge, protocol version 1, for Godot 4. Call `poll()` once a frame: it never waits.
extends RefCounted

const Codec := preload("cervello_codec_4.gd")
const DEFAULT_FRAME_BYTES := 16777216


# A reply to come. `completed` is emitted once; then `error` is null and `result` a Dictionary, or `error` is a Failure.
class Pending:
	extends RefCounted
	signal completed
	var step := ""
	var until_ms := 0
	var timeout_ms := 0
	var done := false
	var result: Variant = null
	var error: Failure = null

	# `await pending.settled()`: returns at once where the reply is there already, or the call could not be sent.
	func settled() -> Pending:
		if not done:
			await completed
		return self


# `kind` is "draining", "agents_lost", "dead_server", "timeout", "refused" (with code and data) or "bad_call".
class Failure:
	extends RefCounted
	var kind := ""
	var address := ""
	var step := ""
	var cause := ""
	var code := 0
	var data := {}

	func message() -> String:
		return "%s, %s: %s" % [address, step, cause]


var address := ""
var server: Variant = null # hello's result while the connection is ready
var frame_bytes := DEFAULT_FRAME_BYTES # the longest frame taken; unless another is set, the server's limit once hello has told it
var timeout_ms := 5000 # of every call that names none
var codec := Codec.new()
var _client_name := ""
var _token: Variant = null
var _tcp: StreamPeerTCP = null
var _ws: WebSocketPeer = null
var _resolving := -1
var _port := 0
var _opened := false
var _limit := DEFAULT_FRAME_BYTES # of frames taken in this connection
var _hello: Pending = null
var _in := PackedByteArray()
var _out := PackedByteArray()
var _pending := {} # id → Pending
var _next_id := 0
var _begun := {} # policies of this connection in which agents may have begun
var _lost := {} # policies whose agents went with an earlier connection
var _end: Variant = null # [kind, cause] once the connection has ended


# Connects to `tcp://host:port` or `ws://host:port` and says hello; after an end it connects anew, and agents begun before are lost.
func connect_to(to_address: String, client_name := "godot", token: Variant = null, call_timeout_ms := -1) -> Pending:
	var hello := _new_pending("connect", call_timeout_ms)
	if _tcp != null or _ws != null:
		return _fail(hello, "bad_call", "already connected")
	address = to_address
	_limit = frame_bytes
	_client_name = client_name
	_token = token
	server = null
	_end = null
	_opened = false
	_hello = hello
	_next_id = 0
	_in = PackedByteArray()
	_out = PackedByteArray()
	for policy: Variant in _begun:
		_lost[policy] = true
	_begun = {}
	if address.begins_with("ws://") or address.begins_with("wss://"):
		_ws = WebSocketPeer.new()
		_ws.supported_protocols = PackedStringArray(["cervello.1"])
		_ws.inbound_buffer_size = frame_bytes + 1024 # Godot's own is 64 KiB
		_ws.outbound_buffer_size = frame_bytes + 1024
		if _ws.connect_to_url(address) != OK:
			_finish("dead_server", "the address was refused by the engine")
		return hello
	var colon := address.rfind(":")
	if not address.begins_with("tcp://") or colon < 7:
		_hello = null
		return _fail(hello, "bad_call", "expected tcp://host:port or ws://host:port")
	var host := address.substr(6, colon - 6).trim_prefix("[").trim_suffix("]")
	_port = int(address.substr(colon + 1))
	_tcp = StreamPeerTCP.new()
	if host.is_valid_ip_address():
		_dial(host)
	else: # connect_to_host would wait for the name
		_resolving = IP.resolve_hostname_queue_item(host)
		if _resolving == IP.RESOLVER_INVALID_ID:
			_finish("dead_server", "the engine resolves no more names at once")
	return hello


func _dial(ip: String) -> void:
	if _tcp.connect_to_host(ip, _port) != OK:
		_finish("dead_server", "no connection to %s" % ip)


func is_ready() -> bool:
	return server != null


# Ends the connection, and with it its agents.
func close() -> void:
	_finish("bad_call", "the client was closed")


# Sends and receives what is there, and ends calls whose time is over.
func poll() -> void:
	if _resolving >= 0:
		_poll_name()
	elif _tcp != null:
		_poll_tcp()
	elif _ws != null:
		_poll_ws()
	var now := Time.get_ticks_msec()
	if _hello != null and now >= _hello.until_ms:
		_finish("timeout", "no %s within %d ms" % ["reply" if _opened else "connection", _hello.timeout_ms])
	for id: int in _pending.keys():
		var pending: Pending = _pending.get(id)
		if pending != null and now >= pending.until_ms:
			_pending.erase(id) # a late reply is dropped
			_fail(pending, "timeout", "no reply within %d ms" % pending.timeout_ms)


func _poll_name() -> void:
	var status := IP.get_resolve_item_status(_resolving)
	if status == IP.RESOLVER_STATUS_WAITING:
		return
	var ip := IP.get_resolve_item_address(_resolving) if status == IP.RESOLVER_STATUS_DONE else ""
	IP.erase_resolve_item(_resolving)
	_resolving = -1
	if ip != "":
		_dial(ip)
	else:
		_finish("dead_server", "no such host")


func _poll_tcp() -> void:
	if _opened: # what has arrived is read before the engine looks for an end: it may hold the farewell
		_read_tcp()
	if _tcp == null:
		return
	_tcp.poll()
	var status := _tcp.get_status()
	if status == StreamPeerTCP.STATUS_CONNECTING:
		return
	if status == StreamPeerTCP.STATUS_CONNECTED and not _opened:
		_tcp.set_no_delay(true)
		_say_hello()
	if _tcp != null and _tcp.get_status() == StreamPeerTCP.STATUS_CONNECTED and _out.size() > 0:
		var sent := _tcp.put_partial_data(_out)
		if sent[0] == OK and sent[1] > 0:
			_out = _out.slice(sent[1])
	if _tcp != null and _tcp.get_status() != StreamPeerTCP.STATUS_CONNECTED:
		_finish("dead_server", "the connection was closed" if _opened else "nobody answers")


func _read_tcp() -> void:
	while _tcp != null and _tcp.get_status() == StreamPeerTCP.STATUS_CONNECTED and _tcp.get_available_bytes() > 0:
		var got := _tcp.get_partial_data(_tcp.get_available_bytes())
		if got[0] != OK or got[1].size() == 0:
			return
		_in.append_array(got[1])
		_take_frames()


func _take_frames() -> void:
	var at := 0
	while _in.size() - at >= 4:
		var length := _in.decode_u32(at)
		if length == 0 or length > _limit:
			_finish("dead_server", "a frame of %d bytes; the limit is %d" % [length, _limit])
			return
		if _in.size() - at - 4 < length:
			break
		_receive(_in.slice(at + 4, at + 4 + length))
		at += 4 + length
		if _tcp == null:
			return
	if at > 0:
		_in = _in.slice(at)


func _poll_ws() -> void:
	_ws.poll()
	var state := _ws.get_ready_state()
	if state == WebSocketPeer.STATE_OPEN and not _opened:
		if not OS.has_feature("web"): # a page's sockets have no such option
			_ws.set_no_delay(true)
		_say_hello()
	while _ws != null and _opened and _ws.get_available_packet_count() > 0:
		var body := _ws.get_packet()
		if body.size() == 0 or body.size() > _limit or _ws.was_string_packet():
			_finish("dead_server", "a message that is no frame")
			return
		_receive(body)
	if _ws == null or state != WebSocketPeer.STATE_CLOSED:
		return
	var code := _ws.get_close_code() # -1 where there was no closing handshake
	if not _opened:
		_finish("dead_server", "nobody answers, or this origin or subprotocol is refused")
	elif code == 1001:
		_finish("draining", "code 1001: %s" % _ws.get_close_reason())
	elif code > 0 and code != 1000:
		_finish("dead_server", "the WebSocket was closed, code %d: %s" % [code, _ws.get_close_reason()])
	else:
		_finish("dead_server", "the WebSocket was closed")


func _say_hello() -> void:
	_opened = true
	var params := {"version": 1, "client": _client_name}
	if _token != null:
		params["token"] = _token
	if frame_bytes != DEFAULT_FRAME_BYTES:
		params["frame_bytes"] = frame_bytes
	_hello.step = "hello"
	var wrong := _send([0, _next_id, "hello", [params]])
	_pending[_next_id] = _hello
	_next_id += 1
	if wrong != "":
		_finish("bad_call", wrong)


func _receive(body: PackedByteArray) -> void:
	var message: Variant = codec.decode(body)
	if codec.error != "":
		_finish("dead_server", codec.error)
		return
	if not _is_reply(message):
		_finish("dead_server", "a message that is no reply")
		return
	var error: Variant = message[2]
	if message[1] == null:
		if error == null:
			_finish("dead_server", "a reply without id")
		else:
			_finish("draining" if error[0] == 11 else "dead_server", "code %d: %s" % [error[0], error[1]])
		return
	var pending: Pending = _pending.get(message[1])
	if pending == null:
		return
	if error == null and pending == _hello and not _has_limit(message[3]):
		_finish("dead_server", "a reply to hello without limits")
		return
	_pending.erase(message[1])
	var is_hello := pending == _hello
	if is_hello:
		_hello = null
	if error == null:
		if is_hello:
			server = message[3]
			if frame_bytes == DEFAULT_FRAME_BYTES:
				_limit = server["limits"]["frame_bytes"]
		pending.result = message[3]
		pending.done = true
		pending.completed.emit()
		return
	var kind := "draining" if error[0] == 11 else "refused"
	_fail(pending, kind, "code %d: %s" % [error[0], error[1]], error[0], error[2])
	if is_hello:
		_finish(kind, "code %d: %s" % [error[0], error[1]])


# Whether this is `[1, id or nil, nil or [code, text, data], result]`.
func _is_reply(message: Variant) -> bool:
	if not (message is Array) or message.size() != 4 or not (message[0] is int) or message[0] != 1:
		return false
	if message[1] != null and not (message[1] is int):
		return false
	var error: Variant = message[2]
	return error == null or (error is Array and error.size() == 3 and error[0] is int and error[1] is String and error[2] is Dictionary)


func _has_limit(result: Variant) -> bool:
	return result is Dictionary and result.get("limits") is Dictionary and result["limits"].get("frame_bytes") is int


func _finish(kind: String, cause: String) -> void:
	if _tcp == null and _ws == null:
		return
	_end = [kind, cause]
	if _resolving >= 0:
		IP.erase_resolve_item(_resolving)
	_resolving = -1
	if _tcp != null:
		_tcp.disconnect_from_host()
	if _ws != null:
		_ws.close()
	_tcp = null
	_ws = null
	server = null
	var waiting := _pending.values()
	if _hello != null and not _opened:
		waiting.append(_hello)
	_pending = {}
	_hello = null
	for pending: Pending in waiting:
		_fail(pending, kind, cause)


func _new_pending(step: String, call_timeout_ms: int) -> Pending:
	var pending := Pending.new()
	pending.step = step
	pending.timeout_ms = call_timeout_ms if call_timeout_ms >= 0 else timeout_ms
	pending.until_ms = Time.get_ticks_msec() + pending.timeout_ms
	return pending


func _fail(pending: Pending, kind: String, cause: String, code := 0, data := {}) -> Pending:
	var failure := Failure.new()
	failure.kind = kind
	failure.address = address
	failure.step = pending.step
	failure.cause = cause
	failure.code = code
	failure.data = data
	pending.error = failure
	pending.done = true
	pending.completed.emit()
	return pending


# Puts a message into the send queue; the reason why not, or "".
func _send(message: Array) -> String:
	var body := codec.encode(message)
	if codec.error != "":
		return codec.error
	var limit: int = server["limits"]["frame_bytes"] if server != null else DEFAULT_FRAME_BYTES
	if body.size() > limit:
		return "a frame of %d bytes; the server takes %d" % [body.size(), limit]
	if _ws != null: # one that has ended takes nothing; the next poll() tells how it has ended
		var is_full := _ws.get_ready_state() == WebSocketPeer.STATE_OPEN and _ws.send(body) == ERR_OUT_OF_MEMORY
		return "the WebSocket's send buffer is full" if is_full else ""
	var at := _out.size()
	_out.resize(at + 4)
	_out.encode_u32(at, body.size())
	_out.append_array(body)
	return ""


# Any method of the protocol. A request that cannot be sent gives a Pending that has failed already.
func request(method: String, params := {}, call_timeout_ms := -1) -> Pending:
	var pending := _new_pending(method, call_timeout_ms)
	var refusal: Variant = _refusal(method, params)
	if refusal != null:
		return _fail(pending, refusal[0], refusal[1])
	while _pending.has(_next_id):
		_next_id = (_next_id + 1) & 0xffffffff
	var wrong := _send([0, _next_id, method, [params]])
	if wrong != "":
		return _fail(pending, "bad_call", wrong)
	if method == "begin" or method == "restore" or params.get("begin", false):
		_begun[params.get("policy")] = true
		_lost.erase(params.get("policy"))
	_pending[_next_id] = pending
	_next_id = (_next_id + 1) & 0xffffffff
	return pending


# `reward` or `end` without a reply; null, or the Failure. A refused one is counted in `stats`.
func notify_server(method: String, params: Dictionary) -> Failure:
	var pending := _new_pending(method, 0)
	var refusal: Variant = _refusal(method, params)
	if refusal == null:
		var wrong := _send([2, method, [params]])
		if wrong == "":
			return null
		refusal = ["bad_call", wrong]
	return _fail(pending, refusal[0], refusal[1]).error


func _refusal(method: String, params: Dictionary) -> Variant:
	if server == null:
		return _end if _end != null else ["bad_call", "connect_to() comes first, and its reply"]
	if _lost.has(params.get("policy")) and method in ["infer", "reward", "end", "snapshot"] and not params.get("begin", false):
		return ["agents_lost", "agents of policy '%s' ended with the earlier connection; begin them anew" % params["policy"]]
	return null


func _params(first: Dictionary, options: Dictionary) -> Dictionary:
	for key: Variant in options:
		first[key] = options[key]
	return first


func ping(call_timeout_ms := -1) -> Pending:
	return request("ping", {}, call_timeout_ms)


func stats(call_timeout_ms := -1) -> Pending:
	return request("stats", {}, call_timeout_ms)


func spec(policy: String, call_timeout_ms := -1) -> Pending:
	return request("spec", {"policy": policy}, call_timeout_ms)


# options: streams, 8 bytes an agent
func begin(policy: String, agents: Array, options := {}, call_timeout_ms := -1) -> Pending:
	return request("begin", _params({"policy": policy, "agents": agents}, options), call_timeout_ms)


# inputs: bin by name, row i is agents[i]; options: begin, deterministic, deadline_us, outputs, tick
func infer(policy: String, agents: Array, inputs: Dictionary, options := {}, call_timeout_ms := -1) -> Pending:
	return request("infer", _params({"policy": policy, "agents": agents, "inputs": inputs}, options), call_timeout_ms)


# reward: float32 each, as codec.floats() makes them; options: actions, tick
func reward(policy: String, agents: Array, rewards: PackedByteArray, options := {}, call_timeout_ms := -1) -> Pending:
	return request("reward", _params({"policy": policy, "agents": agents, "reward": rewards}, options), call_timeout_ms)


# options: terminated, truncated (bool or raw bytes), inputs (final observations)
func end(policy: String, agents: Array, options := {}, call_timeout_ms := -1) -> Pending:
	return request("end", _params({"policy": policy, "agents": agents}, options), call_timeout_ms)


# options: agents; without them all of this connection
func snapshot(policy: String, options := {}, call_timeout_ms := -1) -> Pending:
	return request("snapshot", _params({"policy": policy}, options), call_timeout_ms)


# options: keep
func restore(policy: String, state: PackedByteArray, options := {}, call_timeout_ms := -1) -> Pending:
	return request("restore", _params({"policy": policy, "state": state}, options), call_timeout_ms)
