--- Client of the Cervello bridge for Lua 5.1 and later and LuaJIT; sockets by LuaSocket, which LÖVE has built in.
--
-- Nothing here waits except `ready` and `wait`, which take the longest time. A game calls `client:poll()` once a frame.
-- Bytes are Lua strings; `pack` and `unpack` make them from numbers and back.
-- Errors are returned as `nil, error`; an error has `kind` ("refused", "draining", "dead_server", "agents_lost", "timeout", "closed"),
-- `address`, `step` (connect, hello or the method), `cause`, `message`, and `code` and `data` where the server answered with a code.
local M = {}

local byte, char, sub, concat, floor = string.byte, string.char, string.sub, table.concat, math.floor

local MAX_DEPTH = 8 -- the message's array is level 1
local MAX_VALUES = 2 ^ 20 -- in one message: arrays of single bytes would cost sixteen times their length
local MAX_WHOLE = 2 ^ 53
local FRAME_BYTES = 16 * 2 ^ 20

-- msgpack ------------------------------------------------------------------------------------------------------------------

--- What nil becomes inside a decoded array or map.
M.null = setmetatable({}, { __tostring = function() return "null" end })

local Bin, Map = {}, {}

--- Marks a string that is to be written as bin; strings are str else.
function M.bin(bytes) return setmetatable({ bytes = bytes }, Bin) end

--- Marks a table that is to be written as a map even when it is empty.
function M.map(values) return setmetatable(values, Map) end

local frexp = math.frexp or function(value)
  local exponent = 0
  while value >= 1 do value, exponent = value / 2, exponent + 1 end
  while value < 0.5 do value, exponent = value * 2, exponent - 1 end
  return value, exponent
end

-- An IEEE number of `exponent_bits` and `mantissa_bits`, little-endian, rounded to the nearest, ties to even.
local function pack_float(value, exponent_bits, mantissa_bits)
  local top, bias = 2 ^ exponent_bits - 1, 2 ^ (exponent_bits - 1) - 1
  local negative = value < 0 or (value == 0 and 1 / value < 0)
  local exponent, mantissa = 0, 0
  if value ~= value then
    exponent, mantissa = top, 2 ^ (mantissa_bits - 1)
  elseif value == math.huge or value == -math.huge then
    exponent = top
  elseif value ~= 0 then
    local part, scale = frexp(value < 0 and -value or value)
    exponent = scale - 1 + bias
    if exponent <= 0 then
      part, exponent = part * 2 ^ (exponent + mantissa_bits), 0
    else
      part = (2 * part - 1) * 2 ^ mantissa_bits
    end
    mantissa = floor(part)
    local rest = part - mantissa
    if rest > 0.5 or (rest == 0.5 and mantissa % 2 == 1) then mantissa = mantissa + 1 end
    if mantissa >= 2 ^ mantissa_bits then exponent, mantissa = exponent + 1, 0 end
    if exponent >= top then exponent, mantissa = top, 0 end
  end
  local out, left = {}, mantissa_bits
  while left >= 8 do
    out[#out + 1] = char(floor(mantissa % 256))
    mantissa, left = floor(mantissa / 256), left - 8
  end
  local rest = mantissa + exponent * 2 ^ left + (negative and 2 ^ (exponent_bits + left) or 0)
  for _ = 1, (1 + exponent_bits + left) / 8 do
    out[#out + 1] = char(floor(rest % 256))
    rest = floor(rest / 256)
  end
  return concat(out)
end

local function unpack_float(bytes, at, exponent_bits, mantissa_bits)
  local low, left = floor(mantissa_bits / 8), mantissa_bits % 8
  local rest = 0
  for place = at + (1 + exponent_bits + mantissa_bits) / 8 - 1, at + low, -1 do rest = rest * 256 + byte(bytes, place) end
  local sign = 1
  if rest >= 2 ^ (exponent_bits + left) then sign, rest = -1, rest - 2 ^ (exponent_bits + left) end
  local exponent = floor(rest / 2 ^ left)
  local mantissa = rest % 2 ^ left
  for place = at + low - 1, at, -1 do mantissa = mantissa * 256 + byte(bytes, place) end
  local bias = 2 ^ (exponent_bits - 1) - 1
  if exponent == 2 ^ exponent_bits - 1 then return mantissa == 0 and sign * math.huge or 0 / 0 end
  if exponent == 0 then return sign * mantissa * 2 ^ (1 - bias - mantissa_bits) end
  return sign * (1 + mantissa / 2 ^ mantissa_bits) * 2 ^ (exponent - bias)
end

-- `count` bytes of a whole number in two's complement, the lowest first.
local function pack_whole(value, count)
  local out = {}
  local inverted = value < 0
  if inverted then value = -value - 1 end
  for place = 1, count do
    local part = floor(value % 256)
    out[place] = char(inverted and 255 - part or part)
    value = floor(value / 256)
  end
  return concat(out)
end

local function unpack_whole(bytes, at, count, signed)
  local inverted = signed and byte(bytes, at + count - 1) >= 128
  local value = 0.0
  for place = at + count - 1, at, -1 do
    local part = byte(bytes, place)
    value = value * 256 + (inverted and 255 - part or part)
  end
  return inverted and -value - 1 or value
end

local function big_endian(value, count) return pack_whole(value, count):reverse() end

local encode_into

local function encode_map(out, map, first)
  local keys, count = {}, 0
  for key in pairs(map) do
    if type(key) ~= "string" then error("cervello: map keys: expected strings, got " .. type(key), 0) end
    keys[#keys + 1] = key
    count = count + 1
  end
  table.sort(keys, function(a, b)
    local rank_a, rank_b = first and first[a] or math.huge, first and first[b] or math.huge
    if rank_a ~= rank_b then return rank_a < rank_b end
    return a < b
  end)
  out[#out + 1] = count < 16 and char(128 + count) or count < 65536 and "\222" .. big_endian(count, 2) or "\223" .. big_endian(count, 4)
  for _, key in ipairs(keys) do
    encode_into(out, key)
    encode_into(out, map[key])
  end
end

local function encode_number(out, value)
  if value ~= floor(value) or value < -MAX_WHOLE or value > MAX_WHOLE then -- NaN and infinities too
    out[#out + 1] = "\203" .. pack_float(value, 11, 52):reverse()
  elseif value >= 0 then
    out[#out + 1] = value < 128 and char(floor(value)) or value < 256 and "\204" .. char(floor(value))
      or value < 65536 and "\205" .. big_endian(value, 2) or value < 2 ^ 32 and "\206" .. big_endian(value, 4)
      or "\207" .. big_endian(value, 8)
  else
    out[#out + 1] = value >= -32 and char(floor(256 + value)) or value >= -128 and "\208" .. big_endian(value, 1)
      or value >= -32768 and "\209" .. big_endian(value, 2) or value >= -2 ^ 31 and "\210" .. big_endian(value, 4)
      or "\211" .. big_endian(value, 8)
  end
end

function encode_into(out, value)
  local kind = type(value)
  if value == nil or value == M.null then
    out[#out + 1] = "\192"
  elseif kind == "boolean" then
    out[#out + 1] = value and "\195" or "\194"
  elseif kind == "number" then
    encode_number(out, value)
  elseif kind == "string" then
    local length = #value
    out[#out + 1] = length < 32 and char(160 + length) or length < 256 and "\217" .. char(length)
      or length < 65536 and "\218" .. big_endian(length, 2) or "\219" .. big_endian(length, 4)
    out[#out + 1] = value
  elseif kind ~= "table" then
    error("cervello: expected values that msgpack has, got a " .. kind, 0)
  elseif getmetatable(value) == Bin then
    local length = #value.bytes
    out[#out + 1] = length < 256 and "\196" .. char(length) or length < 65536 and "\197" .. big_endian(length, 2)
      or "\198" .. big_endian(length, 4)
    out[#out + 1] = value.bytes
  elseif getmetatable(value) == Map or (#value == 0 and next(value) ~= nil) then
    encode_map(out, value)
  else
    local length = #value
    out[#out + 1] = length < 16 and char(144 + length) or length < 65536 and "\220" .. big_endian(length, 2)
      or "\221" .. big_endian(length, 4)
    for place = 1, length do encode_into(out, value[place]) end
  end
end

--- One value as msgpack. A table with keys is a map, one without is an array; `M.map` and `M.bin` say what a table cannot.
function M.encode(value)
  local out = {}
  encode_into(out, value)
  return concat(out)
end

local function is_utf8(text)
  if not text:find("[\128-\255]") then return true end
  local at, length = 1, #text
  while at <= length do
    local lead = byte(text, at)
    local more = lead < 128 and 0 or lead >= 194 and lead < 224 and 1 or lead >= 224 and lead < 240 and 2
      or lead >= 240 and lead < 245 and 3
    if not more or at + more > length then return false end
    for place = at + 1, at + more do
      local next_byte = byte(text, place)
      if next_byte < 128 or next_byte > 191 then return false end
    end
    local second = byte(text, at + 1)
    if (lead == 224 and second < 160) or (lead == 237 and second > 159) or (lead == 240 and second < 144)
      or (lead == 244 and second > 143) then
      return false
    end
    at = at + more + 1
  end
  return true
end

local function bad(what) error({ bad_frame = what }, 0) end

local LENGTHS = { -- type byte to {kind, bytes of the length}
  [217] = { "str", 1 }, [218] = { "str", 2 }, [219] = { "str", 4 }, [196] = { "bin", 1 }, [197] = { "bin", 2 }, [198] = { "bin", 4 },
  [220] = { "array", 2 }, [221] = { "array", 4 }, [222] = { "map", 2 }, [223] = { "map", 4 } }
local NUMBERS = { -- type byte to {bytes, signed}
  [204] = { 1 }, [205] = { 2 }, [206] = { 4 }, [207] = { 8 },
  [208] = { 1, true }, [209] = { 2, true }, [210] = { 4, true }, [211] = { 8, true } }

-- Lengths are held against what is left before any memory is taken.
local function decode(body)
  local at, length, values = 1, #body, 0

  local function take(count)
    if at + count - 1 > length then bad("cut off") end
    at = at + count
    return at - count
  end

  local function whole(count, signed)
    local from = take(count)
    return unpack_whole(sub(body, from, from + count - 1):reverse(), 1, count, signed)
  end

  local value

  local function container(kind, count, depth)
    if depth > MAX_DEPTH then bad("nested deeper than " .. MAX_DEPTH) end
    local entries = kind == "map" and 2 * count or count
    if entries > length - at + 1 then bad(kind .. " longer than its message") end
    values = values + entries
    if values > MAX_VALUES then bad("more than " .. floor(MAX_VALUES) .. " values") end
    local out = {}
    for place = 1, count do
      if kind == "array" then
        out[place] = value(depth + 1)
      else
        local lead = byte(body, at)
        if not lead then bad("cut off") end
        local long = LENGTHS[lead]
        if not ((lead >= 160 and lead < 192) or (long and long[1] == "str")) then bad("a map key that is no str") end
        local key = value(depth + 1)
        if out[key] ~= nil then bad("the key " .. key .. " twice") end
        out[key] = value(depth + 1)
      end
    end
    return out
  end

  local function text(count)
    local from = take(count)
    local found = sub(body, from, from + count - 1)
    if not is_utf8(found) then bad("a str that is not UTF-8") end
    return found
  end

  function value(depth)
    local lead = byte(body, take(1))
    if lead < 128 then return lead end
    if lead >= 224 then return lead - 256 end
    if lead < 144 then return container("map", lead - 128, depth) end
    if lead < 160 then return container("array", lead - 144, depth) end
    if lead < 192 then return text(lead - 160) end
    if lead == 192 then return M.null end
    if lead == 194 or lead == 195 then return lead == 195 end
    local number, long = NUMBERS[lead], LENGTHS[lead]
    if number then return whole(number[1], number[2]) end
    if lead == 202 or lead == 203 then
      local count = lead == 202 and 4 or 8
      local from = take(count)
      local bytes = sub(body, from, from + count - 1):reverse()
      return unpack_float(bytes, 1, lead == 202 and 8 or 11, lead == 202 and 23 or 52)
    end
    if not long then bad(lead == 193 and "the byte 0xc1" or "an ext type") end
    local count = whole(long[2])
    if long[1] == "str" then return text(count) end
    if long[1] == "bin" then
      local from = take(count)
      return sub(body, from, from + count - 1)
    end
    return container(long[1], count, depth)
  end

  local found = value(1)
  if at <= length then bad("bytes behind the message") end
  return found
end

--- The value of a msgpack body, or nil and what is wrong with it.
function M.decode(body)
  local done, found = pcall(decode, body)
  if done then return found end
  if type(found) == "table" and found.bad_frame then return nil, found.bad_frame end
  error(found, 0)
end

-- tensors ------------------------------------------------------------------------------------------------------------------

local DTYPES = { -- {bytes, C type, exponent bits, mantissa bits} for floats, {bytes, C type, signed} for integers
  float16 = { 2, nil, 5, 10 }, float32 = { 4, "float", 8, 23 }, float64 = { 8, "double", 11, 52 },
  int8 = { 1, "int8_t", true }, int16 = { 2, "int16_t", true }, int32 = { 4, "int32_t", true }, int64 = { 8, "int64_t", true },
  uint8 = { 1, "uint8_t", false }, uint16 = { 2, "uint16_t", false }, uint32 = { 4, "uint32_t", false },
  uint64 = { 8, "uint64_t", false }, bool = { 1, "uint8_t", false } }

local has_ffi, ffi = pcall(require, "ffi")
if has_ffi and not ffi.abi("le") then has_ffi = false end

local function dtype_of(name)
  return DTYPES[name] or error("cervello: dtype: expected one of the protocol's, got " .. tostring(name), 0)
end

--- The bytes of an array of numbers (or of booleans, for bool) in a dtype of the protocol.
function M.pack(name, values)
  local dtype, count = dtype_of(name), #values
  local whole = type(dtype[3]) == "boolean"
  if has_ffi and not whole and dtype[2] then return ffi.string(ffi.new(dtype[2] .. "[?]", count, values), count * dtype[1]) end
  local low, high = 0, name == "bool" and 1 or math.min(2 ^ (8 * dtype[1]) - 1, MAX_WHOLE)
  if dtype[3] == true then low, high = -math.min(2 ^ (8 * dtype[1] - 1), MAX_WHOLE), math.min(2 ^ (8 * dtype[1] - 1) - 1, MAX_WHOLE) end
  local out = {}
  for place = 1, count do
    local value = values[place]
    if value == true then value = 1 elseif value == false then value = 0 end
    if not whole then
      out[place] = pack_float(value, dtype[3], dtype[4])
    elseif value == floor(value) and value >= low and value <= high then
      out[place] = pack_whole(value, dtype[1])
    else
      error(("cervello: %s: expected whole numbers from %.0f to %.0f, got %s"):format(name, low, high, tostring(value)), 0)
    end
  end
  return concat(out)
end

--- The numbers of a tensor's bytes, row after row, as one array. 64-bit integers beyond 2^53 are rounded.
function M.unpack(name, bytes)
  local dtype, out = dtype_of(name), {}
  local size = dtype[1]
  local count = #bytes / size
  if count ~= floor(count) then error(("cervello: %s: expected a multiple of %d bytes, got %d"):format(name, size, #bytes), 0) end
  if has_ffi and dtype[2] then
    local from = ffi.new(dtype[2] .. "[?]", count)
    ffi.copy(from, bytes, #bytes)
    for place = 1, count do out[place] = tonumber(from[place - 1]) end
    return out
  end
  for place = 1, count do
    local at = (place - 1) * size + 1
    out[place] = type(dtype[3]) == "boolean" and unpack_whole(bytes, at, size, dtype[3]) or unpack_float(bytes, at, dtype[3], dtype[4])
  end
  return out
end

-- pending replies ----------------------------------------------------------------------------------------------------------

local Pending = {}
Pending.__index = Pending

--- Whether the reply or an error is there; `result` or `error` has it.
function Pending:done() return self.result ~= nil or self.error ~= nil end

--- Polls until the reply is there, at most `timeout_s`: the result, or nil and the error. After a time-out the reply may still come.
function Pending:wait(timeout_s)
  local client = self.client
  local deadline = client.now() + timeout_s
  while not self:done() do
    local left = deadline - client.now()
    if left <= 0 then return nil, client:_error("timeout", self.method, ("no reply within %.0f ms"):format(timeout_s * 1000)) end
    client:poll(left)
  end
  if self.error then return nil, self.error end
  return self.result
end

-- connection ---------------------------------------------------------------------------------------------------------------

local Client = {}
Client.__index = Client

function Client:_error(kind, step, cause, code, data)
  return { kind = kind, address = self.address, step = step, cause = cause, code = code, data = data,
    message = ("%s, %s: %s"):format(self.address, step, cause) }
end

local function new_socket(address)
  local host, port = address:match("^tcp://%[?([^%]]-)%]?:(%d+)$")
  if host then
    local socket = require("socket")
    local made = host:find(":") and socket.tcp6 or socket.tcp
    return made(), function(stream) return stream:connect(host, tonumber(port)) end, true
  end
  local path = address:match("^unix:(/.+)$")
  if not path then error("cervello: address: expected tcp://host:port or unix:/path, got " .. tostring(address), 0) end
  local unix = require("socket.unix")
  local made = type(unix) == "table" and unix.stream or unix
  return made(), function(stream) return stream:connect(path) end, false
end

function Client:_start()
  self.state, self.failure = "connecting", nil
  self.out, self.received, self.received_bytes, self.pending, self.next_id = "", {}, 0, {}, 0
  self.deadline = self.now() + self.connect_timeout_s
  self.frame_limit = self.options.frame_bytes or FRAME_BYTES
  self.send_limit = FRAME_BYTES
  local is_tcp
  self.socket, self.connecting, is_tcp = new_socket(self.address)
  self.socket:settimeout(0)
  local done, why = self.connecting(self.socket)
  if is_tcp then
    self.socket:setoption("tcp-nodelay", true)
    self.socket:setoption("keepalive", true)
  end
  if done then
    self:_hello()
  elseif why ~= "timeout" and why ~= "Operation already in progress" then
    self:_close("dead_server", why)
  end
end

--- Starts to connect and returns a client at once. Options: `client` (the name that streams are derived from), `token`, `frame_bytes`,
-- `connect_timeout_s` (5: connect and hello together), `now` (a clock in seconds; LuaSocket's else).
function M.open(address, options)
  options = options or {}
  local self = setmetatable({ address = address, options = options, begun = {}, lost = {} }, Client)
  self.now = options.now or require("socket").gettime
  self.connect_timeout_s = options.connect_timeout_s or 5
  self:_start()
  return self
end

--- Connects again after the connection has ended. Agents that had begun are lost: requests that name them are "agents_lost" until they
-- begin again.
function Client:reconnect()
  if self.state ~= "closed" then error("cervello: reconnect: expected a closed connection, got one that is " .. self.state, 0) end
  for policy, ids in pairs(self.begun) do
    self.lost[policy] = self.lost[policy] or {}
    for id in pairs(ids) do self.lost[policy][id] = true end
  end
  self.begun = {}
  self:_start()
end

--- Polls until requests can be sent, at most `connect_timeout_s`: true, or nil and the error.
function Client:ready()
  while self.state == "connecting" or self.state == "hello" do self:poll(math.max(0, self.deadline - self.now())) end
  if self.state == "ready" then return true end
  return nil, self.failure
end

--- Closes the connection; the server ends its agents.
function Client:close()
  if self.state ~= "closed" then self:_close("closed", "closed by this client") end
end

-- The kind and cause stay for requests that come later; those in flight get them with their own step.
function Client:_close(kind, cause, code, data)
  local step = self.state == "connecting" and "connect" or self.state == "hello" and "hello" or "poll"
  self.state = "closed"
  self.failure = self:_error(kind, step, cause, code, data)
  self.socket:close()
  for _, pending in pairs(self.pending) do pending.error = self:_error(kind, pending.method, cause, code, data) end
  self.pending, self.out = {}, ""
end

-- Parameters are written in the order of the protocol's table.
local RANK = {}
for place, key in ipairs({ "version", "client", "token", "frame_bytes", "policy", "agents", "streams", "state", "keep", "path", "terminated",
  "truncated", "reward", "actions", "inputs", "begin", "deterministic", "deadline_us", "outputs", "tick" }) do RANK[key] = place end

function Client:_send(kind, id, method, params)
  local out = { char(kind == 0 and 148 or 147), char(kind) }
  if kind == 0 then encode_number(out, id) end
  encode_into(out, method)
  out[#out + 1] = char(145)
  encode_map(out, params, RANK)
  local body = concat(out)
  if #body > self.send_limit then
    error(("cervello: %s: expected a frame of at most %.0f bytes, got %d"):format(method, self.send_limit, #body), 0)
  end
  self.out = self.out .. pack_whole(#body, 4) .. body
  self:_flush()
end

function Client:_hello()
  self.state = "hello"
  self:_request("hello", { version = 1, client = self.options.client or "lua", token = self.options.token,
    frame_bytes = self.options.frame_bytes })
end

function Client:_request(method, params, on_result)
  local pending = setmetatable({ client = self, method = method, on_result = on_result }, Pending)
  while self.pending[self.next_id] do self.next_id = (self.next_id + 1) % 2 ^ 32 end
  local id = self.next_id
  self.next_id = (id + 1) % 2 ^ 32
  self.pending[id] = pending
  local sent, why = pcall(self._send, self, 0, id, method, params)
  if not sent then
    self.pending[id] = nil
    error(why, 0)
  end
  return pending
end

-- Why a message cannot be sent: no connection, or agents that were lost with an earlier one.
function Client:_refusal(method, params)
  if self.state == "closed" then return self:_error(self.failure.kind, method, self.failure.cause, self.failure.code) end
  if self.state ~= "ready" then
    error("cervello: " .. method .. ": expected a client that is ready, got one that is " .. self.state .. "; call ready or poll first", 0)
  end
  local lost = self.lost[params.policy or false]
  if not lost then return nil end
  if method == "restore" and not params.keep then self.lost[params.policy] = nil end
  local begins, named = method == "begin" or (method == "infer" and params.begin), {}
  for _, id in ipairs(params.agents or {}) do
    if begins then lost[id] = nil elseif lost[id] then named[#named + 1] = id end
  end
  if #named == 0 then return nil end
  return self:_error("agents_lost", method, #named .. " agents were lost with the connection; begin them again", nil, { agents = named })
end

-- A request of the game.
function Client:request(method, params, on_result)
  local failed = self:_refusal(method, params)
  if failed then return setmetatable({ client = self, method = method, error = failed }, Pending) end
  return self:_request(method, params, on_result)
end

function Client:_flush()
  while #self.out > 0 do
    local last, why, partial = self.socket:send(self.out)
    self.out = sub(self.out, (last or partial or 0) + 1)
    if not last then
      -- what the server said before it closed is read first: poll finds the end of the stream
      if why ~= "timeout" and why ~= "closed" then self:_close("dead_server", why) end
      return
    end
  end
end

function Client:_reply(message)
  local id, failed, result = message[2], message[3], message[4]
  if type(message) ~= "table" or #message ~= 4 or message[1] ~= 1 then return "bad frame: expected a response, got something else" end
  if failed ~= M.null and not (type(failed) == "table" and type(failed[1]) == "number" and type(failed[2]) == "string") then
    return "bad frame: expected [code, text, data] or nil as an error"
  end
  if id == M.null then
    if failed == M.null then return "bad frame: a response without an id" end
    if failed[1] == 11 then return "the server is draining: " .. failed[2], "draining" end
    return ("code %.0f: %s"):format(failed[1], failed[2])
  end
  local pending = type(id) == "number" and self.pending[id]
  if not pending then return "bad frame: a reply to no request" end
  self.pending[id] = nil
  if failed ~= M.null then
    local draining = failed[1] == 11
    local cause = ("code %.0f: %s"):format(failed[1], failed[2])
    pending.error = self:_error(draining and "draining" or "refused", pending.method, cause, failed[1], failed[3])
    if pending.method == "hello" then self:_close(pending.error.kind, cause, failed[1], failed[3]) end
    return
  end
  if type(result) ~= "table" then return "bad frame: a result that is no map" end
  if pending.method == "hello" then
    if type(result.limits) ~= "table" or type(result.limits.frame_bytes) ~= "number" then return "bad frame: a hello without limits" end
    self.server, self.state, self.send_limit = result, "ready", result.limits.frame_bytes
    self.frame_limit = self.options.frame_bytes or self.send_limit
  end
  if pending.on_result then pending.on_result(result) end
  pending.result = result
end

-- Takes whole frames from what has arrived; nothing is copied before the frame is whole.
function Client:_frames()
  while self.received_bytes >= 4 and self.state ~= "closed" do
    if #self.received[1] < 4 then self.received = { concat(self.received) } end
    local length = unpack_whole(self.received[1], 1, 4, false)
    if length == 0 or length > self.frame_limit then
      return self:_close("dead_server", ("a frame of %.0f bytes, the limit is %.0f"):format(length, self.frame_limit))
    end
    if self.received_bytes < 4 + length then return end
    local all = concat(self.received)
    local body, rest = sub(all, 5, 4 + length), sub(all, 5 + length)
    self.received, self.received_bytes = { rest }, #rest
    local message, why = M.decode(body)
    local kind
    if why then
      why = "bad frame: " .. why
    elseif type(message) == "table" then
      why, kind = self:_reply(message)
    else
      why = "bad frame: a message that is no array"
    end
    if why and self.state ~= "closed" then return self:_close(kind or "dead_server", why) end
  end
end

--- Sends and receives what is there; never waits unless `timeout_s` is given, then at most until something can be done.
function Client:poll(timeout_s)
  if self.state == "closed" then return end
  local socket = require("socket")
  local writing = (self.state == "connecting" or #self.out > 0) and { self.socket } or nil
  local _, writable = socket.select({ self.socket }, writing, timeout_s or 0)
  if self.state == "connecting" and writable and writable[1] then
    local done, why = self.connecting(self.socket)
    if done or why == "already connected" then self:_hello() else self:_close("dead_server", why) end
  elseif self.state ~= "connecting" then
    self:_flush()
  end
  while self.state == "hello" or self.state == "ready" do
    local data, why, partial = self.socket:receive(65536)
    data = data or partial
    if data and #data > 0 then
      self.received[#self.received + 1] = data
      self.received_bytes = self.received_bytes + #data
      self:_frames()
    end
    if self.state == "closed" or why == "timeout" then break end
    if why then self:_close("dead_server", why == "closed" and "the server closed the connection" or why) end
  end
  if (self.state == "connecting" or self.state == "hello") and self.now() >= self.deadline then
    local what = self.state == "hello" and "reply" or "connection"
    self:_close("timeout", ("no %s within %.0f ms"):format(what, self.connect_timeout_s * 1000))
  end
end

--- Whether the server answers.
function Client:ping() return self:request("ping", {}) end

--- The server's statistics.
function Client:stats() return self:request("stats", {}) end

-- policies -----------------------------------------------------------------------------------------------------------------

local Policy = {}
Policy.__index = Policy

--- The policy of a name. Its methods return pending replies.
function Client:policy(name) return setmetatable({ client = self, name = name }, Policy) end

local function rows(key, named)
  if named == nil then return nil end
  local out = M.map({})
  for name, bytes in pairs(named) do
    if type(bytes) ~= "string" then
      error(("cervello: %s.%s: expected bytes, got a %s; give cervello.pack(dtype, numbers)"):format(key, tostring(name), type(bytes)), 0)
    end
    out[name] = M.bin(bytes)
  end
  return out
end

local function flag(value) return type(value) == "string" and M.bin(value) or value end

function Policy:_agents(present, ids)
  local begun = self.client.begun[self.name] or {}
  self.client.begun[self.name] = begun
  for _, id in ipairs(ids) do begun[id] = present or nil end
end

--- Inputs, outputs and constants.
function Policy:spec() return self.client:request("spec", { policy = self.name }) end

--- Begins agents; `streams` is 8 bytes for each, derived by the server without it.
function Policy:begin(agents, streams)
  return self.client:request("begin", { policy = self.name, agents = agents, streams = streams and M.bin(streams) },
    function() self:_agents(true, agents) end)
end

--- Actions of `agents` on `inputs`, {name: bytes}, one row for each. Options: begin, deterministic (a flag or a byte for each),
-- deadline_us, outputs, tick.
function Policy:infer(agents, inputs, options)
  options = options or {}
  return self.client:request("infer", { policy = self.name, agents = agents, inputs = rows("inputs", inputs), begin = options.begin,
    deterministic = flag(options.deterministic), deadline_us = options.deadline_us, outputs = options.outputs, tick = options.tick },
    function() self:_agents(true, agents) end) -- those of a restored state too: the client cannot see them otherwise
end

local function ended(self, agents, options)
  return { policy = self.name, agents = agents, terminated = flag(options.terminated), truncated = flag(options.truncated),
    inputs = rows("inputs", options.inputs) }
end

--- Ends agents. Options: terminated and truncated (a flag or a byte for each), inputs (the final observations).
function Policy:finish(agents, options)
  return self.client:request("end", ended(self, agents, options or {}), function() self:_agents(false, agents) end)
end

local function rewarded(self, agents, rewards, options)
  return { policy = self.name, agents = agents, reward = M.bin(M.pack("float32", rewards)), actions = rows("actions", options.actions),
    tick = options.tick }
end

--- Rewards, one number for each agent. Options: actions (what was really done, {name: bytes}), tick.
function Policy:reward(agents, rewards, options)
  return self.client:request("reward", rewarded(self, agents, rewards, options or {}))
end

-- Notifies are not answered; what the server refuses is counted in its statistics.
local function notify(self, method, params)
  local failed = self.client:_refusal(method, params)
  if failed then return nil, failed end
  self.client:_send(2, nil, method, params)
  return true
end

--- As `reward`, without a reply.
function Policy:notify_reward(agents, rewards, options) return notify(self, "reward", rewarded(self, agents, rewards, options or {})) end

--- As `finish`, without a reply.
function Policy:notify_finish(agents, options)
  local sent, failed = notify(self, "end", ended(self, agents, options or {}))
  if sent then self:_agents(false, agents) end
  return sent, failed
end

--- The state of this connection's agents, or of those named.
function Policy:snapshot(agents) return self.client:request("snapshot", { policy = self.name, agents = agents }) end

--- Replaces this connection's agents by those of a state; with `keep` others go on.
function Policy:restore(state, keep) return self.client:request("restore", { policy = self.name, state = M.bin(state), keep = keep }) end

--- Puts another file in the policy's place.
function Policy:swap(path) return self.client:request("swap", { policy = self.name, path = path }) end

return M
