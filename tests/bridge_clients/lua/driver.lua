-- The Lua client's scenarios: lua driver.lua SCENARIO ADDRESS ARGUMENTS...
package.path = os.getenv("CERVELLO_LUA") .. "/?.lua;" .. package.path
local cervello = require("cervello")

local function hex(bytes) return (bytes:gsub(".", function(each) return ("%02x"):format(each:byte()) end)) end

local function dump(value)
  local kind = type(value)
  if value == nil or value == cervello.null then return "n" end
  if kind == "boolean" then return value and "t" or "u" end
  if kind == "string" then return "s" .. hex(value) end
  if kind == "number" then
    if value == math.floor(value) then return ("%.0f"):format(value) end
    for digits = 1, 17 do
      local text = ("%." .. digits .. "g"):format(value)
      if tonumber(text) == value then return "f" .. text end
    end
  end
  local parts = {}
  if #value == 0 and next(value) ~= nil then
    for key, item in pairs(value) do parts[#parts + 1] = { hex(key), dump(item) } end
    table.sort(parts, function(a, b) return a[1] < b[1] end)
    for place, part in ipairs(parts) do parts[place] = part[1] .. ":" .. part[2] end
    return "{" .. table.concat(parts, ",") .. "}"
  end
  for place, item in ipairs(value) do parts[place] = dump(item) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function show(result, failed)
  if failed then
    print(("%s|%s|%s|%s"):format(failed.kind, failed.step, failed.code and ("%.0f"):format(failed.code) or "", failed.message))
  else
    print(dump(result))
  end
end

local function floats(...) return cervello.pack("float32", { ... }) end

local function ready(address, options)
  local client = cervello.open(address, options)
  local done, failed = client:ready()
  if not done then error(failed.message) end
  return client
end

local scenarios = {}

function scenarios.codec(path)
  for line in io.lines(path) do
    local body = line:gsub("..", function(pair) return string.char(tonumber(pair, 16)) end)
    local value, bad = cervello.decode(body)
    print(bad and "bad frame: " .. bad or dump(value) .. " " .. hex(cervello.encode(value)))
  end
end

-- Lines of a dtype and hex: unpacked and packed again; of a dtype, `=` and numbers: packed.
function scenarios.tensors(path)
  for line in io.lines(path) do
    local dtype, text = line:match("^(%S+) (.*)$")
    if text:sub(1, 1) == "=" then
      local numbers = {}
      for number in text:gmatch("[^ =]+") do
        numbers[#numbers + 1] = number == "nan" and 0 / 0 or number:match("inf") and (number:sub(1, 1) == "-" and -1 or 1) * math.huge or tonumber(number)
      end
      print(hex(cervello.pack(dtype, numbers)))
    else
      local bytes = text:gsub("..", function(pair) return string.char(tonumber(pair, 16)) end)
      print(hex(cervello.pack(dtype, cervello.unpack(dtype, bytes))))
    end
  end
end

function scenarios.golden(address, name)
  local client = ready(address, { client = "golden" })
  local policy = client:policy(name)
  local one, two = floats(0.5, -0.25, 0.125, 1), floats(0.5, -0.25, 0.125, 1, -1, 0.75, 0, 2)
  local streams = "\7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\64"
  local large = 2 ^ 53 - 1
  for _, call in ipairs({
    function() return client:ping() end,
    function() return policy:spec() end,
    function() return policy:begin({ 1, 2 }, streams) end,
    function() return policy:infer({ 1, 2 }, { obs = two }) end,
    function()
      return policy:infer({ 3 }, { obs = one }, { begin = true, deterministic = "\1", deadline_us = 5000000, outputs = { "action" }, tick = large })
    end,
    function() return policy:infer({}, { obs = "" }) end,
    function() return policy:infer({ 1 }, { obs = one }, { outputs = {} }) end,
    function() return policy:reward({ 1, 2 }, { 1, -0.5 }) end,
    function() return policy:reward({ 3 }, { 0.5 }, { actions = { action = cervello.pack("int64", { 1 }) }, tick = large }) end,
    function() return policy:snapshot({ 1, 2 }) end,
    function() return policy:finish({ 1, 2 }, { terminated = "\1\0", truncated = "\0\1", inputs = { obs = two } }) end,
    function() return policy:finish({ 3 }, { terminated = true }) end,
    function() return client:stats() end,
    function()
      assert(policy:notify_reward({ 1, 2 }, { 1, -0.5 }))
      assert(policy:notify_finish({ 1, 2 }))
      return client:ping()
    end }) do
    show(call():wait(5))
  end
end

function scenarios.fail(address, name, limit_ms)
  local client = ready(address)
  show(client:policy(name):infer({ 1, 2 }, { obs = floats(0, 0, 0, 0, 0, 0, 0, 0) }):wait(tonumber(limit_ms) / 1000))
end

function scenarios.overtaken(address)
  local client = ready(address)
  local first, second = client:policy("overtaken"):infer({ 1 }, { obs = floats(0, 0, 0, 0) }), client:ping()
  show(first:wait(5))
  show(second:wait(5))
end

function scenarios.restart(address, name, restarting)
  local client = ready(address)
  local policy, inputs = client:policy(name), { obs = floats(0, 0, 0, 0, 0, 0, 0, 0) }
  show(policy:begin({ 1, 2 }):wait(5))
  show(client:policy(restarting):infer({ 1, 2 }, inputs):wait(5))
  show(client:ping():wait(5))
  client:reconnect()
  assert(client:ready())
  show(policy:infer({ 1, 2 }, inputs):wait(5))
  local sent, failed = policy:notify_finish({ 1, 2 })
  assert(not sent and failed.kind == "agents_lost")
  show(policy:begin({ 1, 2 }):wait(5))
  show(policy:infer({ 1, 2 }, inputs):wait(5))
end

-- Against a real server: see played() of test_served.py.
function scenarios.play(address, name, width, steps)
  local client = ready(address, { client = "player" })
  local policy, agents = client:policy(name), { 1, 2, 3 }
  local function rows(count, step)
    local values = {}
    for row = 0, count - 1 do
      for column = 0, width - 1 do values[#values + 1] = ((7 * row + 3 * step + column) % 11 - 5) / 4 end
    end
    return { obs = cervello.pack("float32", values) }
  end
  show(policy:begin(agents, "\7\0\0\0\0\0\0\0\8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\64"):wait(20))
  for step = 0, steps - 1 do
    show(policy:infer(agents, rows(3, step), { tick = step }):wait(20))
    show(policy:reward(agents, { 1, 0.5, -1 }, { tick = step }):wait(20))
  end
  local saved = policy:snapshot():wait(20)
  local after = policy:infer(agents, rows(3, 1)):wait(20)
  show(policy:restore(saved.state):wait(20))
  local again = policy:infer(agents, rows(3, 1)):wait(20)
  print(dump(after.outputs) == dump(again.outputs))
  show(policy:finish({ 1 }, { terminated = true, inputs = rows(1, steps) }):wait(20))
  show(policy:infer(agents, rows(3, steps)):wait(20))
  show(policy:infer({ 2, 1 }, rows(2, steps), { begin = true, deterministic = "\0\0", outputs = {} }):wait(20))
  policy:notify_finish({ 2, 3 }, { terminated = "\1\0", truncated = "\0\1" })
  print(("%.0f"):format(client:stats():wait(20).agents))
end

-- Plays until the server has gone.
function scenarios.outlive(address, name, width)
  local client = ready(address)
  local policy, values = client:policy(name), {}
  for at = 1, 3 * width do values[at] = 0.5 end
  show(policy:begin({ 1, 2, 3 }):wait(20))
  local result, failed
  repeat result, failed = policy:infer({ 1, 2, 3 }, { obs = cervello.pack("float32", values) }):wait(20) until failed
  show(result, failed)
end

function scenarios.connect(address)
  local done, failed = cervello.open(address, { connect_timeout_s = 0.3 }):ready()
  show(done, failed)
end

scenarios[arg[1]]((unpack or table.unpack)(arg, 2))
