# Client of the Cervello bridge, protocol version 1, for Godot 3. Call `poll()` once a frame: it never waits.
extends Reference

const Codec = preload("cervello_codec.gd")
const DEFAULT_FRAME_BYTES = 16777216


# A reply to come. `completed` is emitted once; then `error` is null and `result` a Dictionary, or `error` is a Failure.
class Pending extends Reference:
	signal completed
	var step = ""
	var until_ms = 0
	var timeout_ms = 0
	var done = false
	var result = null
	var error = null


# `kind` is "draining", "agents_lost", "dead_server", "timeout", "refused" (with code and data) or "bad_call".
class Failure extends Reference:
	var kind = ""
	var address = ""
	var step = ""
	var cause = ""
	var code = 0
	var data = {}

	func message():
		return "%s, %s: %s" % [address, step, cause]


var address = ""
var server = null # hello's result while the connection is ready
var frame_bytes = DEFAULT_FRAME_BYTES # the longest frame taken; unless another is set, the server's limit once hello has told it
var timeout_ms = 5000 # of every call that names none
var codec = Codec.new()
var _client_name = ""
var _token = null
var _tcp = null
var _ws = null
var _resolving = -1
var _port = 0
var _opened = false
var _limit = DEFAULT_FRAME_BYTES # of frames taken in this connection
var _hello = null
var _in = PoolByteArray()
var _out = PoolByteArray()
var _pending = {} # id → Pending
var _next_id = 0
var _begun = {} # policies of this connection in which agents may have begun
var _lost = {} # policies whose agents went with an earlier connection
var _end = null # [kind, cause] once the connection has ended


# Connects to `tcp://host:port` or `ws://host:port` and says hello; after an end it connects anew, and agents begun before are lost.
func connect_to(to_address, client_name = "godot", token = null, call_timeout_ms = -1):
	var hello = _new_pending("connect", call_timeout_ms)
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
	_in = PoolByteArray()
	_out = PoolByteArray()
	for policy in _begun:
		_lost[policy] = true
	_begun = {}
	if address.begins_with("ws://") or address.begins_with("wss://"):
		_ws = WebSocketClient.new()
		_ws.set_buffers(frame_bytes / 1024 + 1, 256, frame_bytes / 1024 + 1, 256) # Godot's own is 64 KiB
		_ws.connect("connection_established", self, "_on_ws_open")
		_ws.connect("connection_closed", self, "_on_ws_closed")
		_ws.connect("connection_error", self, "_on_ws_closed", [false])
		_ws.connect("server_close_request", self, "_on_ws_goodbye")
		if _ws.connect_to_url(address, PoolStringArray(["cervello.1"])) != OK:
			_finish("dead_server", "the address was refused by the engine")
		return hello
	var colon = address.find_last(":")
	if not address.begins_with("tcp://") or colon < 7:
		_hello = null
		return _fail(hello, "bad_call", "expected tcp://host:port or ws://host:port")
	var host = address.substr(6, colon - 6).trim_prefix("[").trim_suffix("]")
	_port = int(address.substr(colon + 1, address.length()))
	_tcp = StreamPeerTCP.new()
	if host.is_valid_ip_address():
		_dial(host)
	else:
		_resolving = IP.resolve_hostname_queue_item(host)
	return hello


func _dial(ip):
	if _tcp.connect_to_host(ip, _port) != OK:
		_finish("dead_server", "no connection to %s" % ip)


func is_ready():
	return server != null


# Ends the connection, and with it its agents.
func close():
	_finish("bad_call", "the client was closed")


# Sends and receives what is there, and ends calls whose time is over.
func poll():
	if _resolving >= 0:
		var status = IP.get_resolve_item_status(_resolving)
		if status != IP.RESOLVER_STATUS_WAITING:
			var ip = IP.get_resolve_item_address(_resolving)
			IP.erase_resolve_item(_resolving)
			_resolving = -1
			if status == IP.RESOLVER_STATUS_DONE:
				_dial(ip)
			else:
				_finish("dead_server", "no such host")
	elif _tcp != null:
		_poll_tcp()
	elif _ws != null:
		_poll_ws()
	var now = OS.get_ticks_msec()
	if _hello != null and now >= _hello.until_ms:
		_finish("timeout", "no %s within %d ms" % ["reply" if _opened else "connection", _hello.timeout_ms])
	for id in _pending.keys():
		var pending = _pending.get(id)
		if pending != null and now >= pending.until_ms:
			_pending.erase(id) # a late reply is dropped
			_fail(pending, "timeout", "no reply within %d ms" % pending.timeout_ms)


func _poll_tcp():
	var status = _tcp.get_status()
	if status == StreamPeerTCP.STATUS_CONNECTING:
		return
	if status == StreamPeerTCP.STATUS_CONNECTED and not _opened:
		_tcp.set_no_delay(true)
		_say_hello()
	if _tcp != null and status == StreamPeerTCP.STATUS_CONNECTED and _out.size() > 0:
		var sent = _tcp.put_partial_data(_out)
		if sent[0] == OK and sent[1] > 0: # an end is told below, after the farewell was read
			_out = _out.subarray(sent[1], _out.size() - 1) if sent[1] < _out.size() else PoolByteArray()
	while _tcp != null and _tcp.get_status() == StreamPeerTCP.STATUS_CONNECTED and _tcp.get_available_bytes() > 0:
		var got = _tcp.get_partial_data(_tcp.get_available_bytes())
		if got[0] != OK or got[1].size() == 0:
			break
		_in.append_array(got[1])
		_take_frames()
	if _tcp != null and _tcp.get_status() != StreamPeerTCP.STATUS_CONNECTED:
		_finish("dead_server", "the connection was closed" if _opened else "nobody answers")


func _take_frames():
	var at = 0
	while _in.size() - at >= 4:
		var length = _in[at] | _in[at + 1] << 8 | _in[at + 2] << 16 | _in[at + 3] << 24
		if length == 0 or length > _limit:
			_finish("dead_server", "a frame of %d bytes; the limit is %d" % [length, _limit])
			return
		if _in.size() - at - 4 < length:
			break
		_receive(_in.subarray(at + 4, at + 3 + length))
		at += 4 + length
		if _tcp == null:
			return
	if at > 0:
		_in = _in.subarray(at, _in.size() - 1) if at < _in.size() else PoolByteArray()


func _poll_ws():
	var socket = _ws # held while it emits its signals, after which there may be no other reference
	socket.poll()
	while _ws != null and _opened and _ws.get_peer(1).get_available_packet_count() > 0:
		var body = _ws.get_peer(1).get_packet()
		if body.size() == 0 or body.size() > _limit or _ws.get_peer(1).was_string_packet():
			_finish("dead_server", "a message that is no frame")
			return
		_receive(body)


func _on_ws_open(_protocol):
	_ws.get_peer(1).set_write_mode(WebSocketPeer.WRITE_MODE_BINARY)
	_say_hello()


func _on_ws_goodbye(code, reason):
	if code == 1001:
		_finish("draining", "code 1001: %s" % reason)
	elif code != 1000:
		_finish("dead_server", "the WebSocket was closed, code %d: %s" % [code, reason])


func _on_ws_closed(_was_clean):
	_finish("dead_server", "the WebSocket was closed" if _opened else "nobody answers, or this origin or subprotocol is refused")


func _say_hello():
	_opened = true
	var params = {"version": 1, "client": _client_name}
	if _token != null:
		params["token"] = _token
	if frame_bytes != DEFAULT_FRAME_BYTES:
		params["frame_bytes"] = frame_bytes
	_hello.step = "hello"
	_send([0, _next_id, "hello", [params]])
	_pending[_next_id] = _hello
	_next_id += 1


func _receive(body):
	var message = codec.decode(body)
	if codec.error != "":
		_finish("dead_server", codec.error)
		return
	if not message is Array or message.size() != 4 or typeof(message[0]) != TYPE_INT or message[0] != 1 \
			or not (message[2] == null or message[2] is Array and message[2].size() == 3):
		_finish("dead_server", "a message that is no reply")
		return
	var error = message[2]
	if message[1] == null:
		if error != null and error[0] == 11:
			_finish("draining", "code 11: %s" % error[1])
		else:
			_finish("dead_server", "code %s: %s" % [error[0], error[1]] if error != null else "a reply without id")
		return
	var pending = _pending.get(message[1])
	if pending == null:
		return
	_pending.erase(message[1])
	var is_hello = pending == _hello
	if is_hello:
		_hello = null
	if error == null:
		if is_hello:
			server = message[3]
			if frame_bytes == DEFAULT_FRAME_BYTES:
				_limit = server["limits"]["frame_bytes"]
		pending.result = message[3]
		pending.done = true
		pending.emit_signal("completed")
		return
	var kind = "draining" if error[0] == 11 else "refused"
	_fail(pending, kind, "code %d: %s" % [error[0], error[1]], error[0], error[2])
	if is_hello:
		_finish(kind, "code %d: %s" % [error[0], error[1]])


func _finish(kind, cause):
	if _tcp == null and _ws == null:
		return
	_end = [kind, cause]
	if _resolving >= 0:
		IP.erase_resolve_item(_resolving)
	_resolving = -1
	if _tcp != null:
		_tcp.disconnect_from_host()
	if _ws != null:
		_ws.disconnect_from_host()
	_tcp = null
	_ws = null
	server = null
	var waiting = _pending.values()
	if _hello != null and not _opened:
		waiting.append(_hello)
	_pending = {}
	_hello = null
	for pending in waiting:
		_fail(pending, kind, cause)


func _new_pending(step, call_timeout_ms):
	var pending = Pending.new()
	pending.step = step
	pending.timeout_ms = call_timeout_ms if call_timeout_ms >= 0 else timeout_ms
	pending.until_ms = OS.get_ticks_msec() + pending.timeout_ms
	return pending


func _fail(pending, kind, cause, code = 0, data = {}):
	var failure = Failure.new()
	failure.kind = kind
	failure.address = address
	failure.step = pending.step
	failure.cause = cause
	failure.code = code
	failure.data = data
	pending.error = failure
	pending.done = true
	pending.emit_signal("completed")
	return pending


# Puts a message into the send queue; the reason why not, or "".
func _send(message):
	var body = codec.encode(message)
	if codec.error != "":
		return codec.error
	var limit = server["limits"]["frame_bytes"] if server != null else DEFAULT_FRAME_BYTES
	if body.size() > limit:
		return "a frame of %d bytes; the server takes %d" % [body.size(), limit]
	if _ws != null: # one that has ended takes nothing; the next poll() tells how it has ended
		var peer = _ws.get_peer(1)
		var is_full = peer.is_connected_to_host() and peer.put_packet(body) == ERR_OUT_OF_MEMORY
		return "the WebSocket's send buffer is full" if is_full else ""
	for shift in [0, 8, 16, 24]:
		_out.append(body.size() >> shift & 255)
	_out.append_array(body)
	return ""


# Any method of the protocol. A request that cannot be sent gives a Pending that has failed already.
func request(method, params = {}, call_timeout_ms = -1):
	var pending = _new_pending(method, call_timeout_ms)
	var refusal = _refusal(method, params)
	if refusal != null:
		return _fail(pending, refusal[0], refusal[1])
	while _pending.has(_next_id):
		_next_id = (_next_id + 1) & 0xffffffff
	var wrong = _send([0, _next_id, method, [params]])
	if wrong != "":
		return _fail(pending, "bad_call", wrong)
	if method == "begin" or method == "restore" or params.get("begin", false):
		_begun[params.get("policy")] = true
		_lost.erase(params.get("policy"))
	_pending[_next_id] = pending
	_next_id = (_next_id + 1) & 0xffffffff
	return pending


# `reward` or `end` without a reply; null, or the Failure. A refused one is counted in `stats`.
func notify_server(method, params):
	var pending = _new_pending(method, 0)
	var refusal = _refusal(method, params)
	if refusal == null:
		var wrong = _send([2, method, [params]])
		if wrong == "":
			return null
		refusal = ["bad_call", wrong]
	return _fail(pending, refusal[0], refusal[1]).error


func _refusal(method, params):
	if server == null:
		return _end if _end != null else ["bad_call", "connect_to() comes first, and its reply"]
	if _lost.has(params.get("policy")) and method in ["infer", "reward", "end", "snapshot"] and not params.get("begin", false):
		return ["agents_lost", "agents of policy '%s' ended with the earlier connection; begin them anew" % params["policy"]]
	return null


func _params(first, options):
	for key in options:
		first[key] = options[key]
	return first


func ping(call_timeout_ms = -1):
	return request("ping", {}, call_timeout_ms)


func stats(call_timeout_ms = -1):
	return request("stats", {}, call_timeout_ms)


func spec(policy, call_timeout_ms = -1):
	return request("spec", {"policy": policy}, call_timeout_ms)


# options: streams, 8 bytes an agent
func begin(policy, agents, options = {}, call_timeout_ms = -1):
	return request("begin", _params({"policy": policy, "agents": agents}, options), call_timeout_ms)


# inputs: bin by name, row i is agents[i]; options: begin, deterministic, deadline_us, outputs, tick
func infer(policy, agents, inputs, options = {}, call_timeout_ms = -1):
	return request("infer", _params({"policy": policy, "agents": agents, "inputs": inputs}, options), call_timeout_ms)


# reward: float32 each, as codec.floats() makes them; options: actions, tick
func reward(policy, agents, rewards, options = {}, call_timeout_ms = -1):
	return request("reward", _params({"policy": policy, "agents": agents, "reward": rewards}, options), call_timeout_ms)


# options: terminated, truncated (bool or raw bytes), inputs (final observations)
func end(policy, agents, options = {}, call_timeout_ms = -1):
	return request("end", _params({"policy": policy, "agents": agents}, options), call_timeout_ms)


# options: agents; without them all of this connection
func snapshot(policy, options = {}, call_timeout_ms = -1):
	return request("snapshot", _params({"policy": policy}, options), call_timeout_ms)


# options: keep
func restore(policy, state, options = {}, call_timeout_ms = -1):
	return request("restore", _params({"policy": policy, "state": state}, options), call_timeout_ms)
