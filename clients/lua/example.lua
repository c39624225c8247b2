-- Sixteen agents of a policy, played for a hundred frames: luajit example.lua tcp://127.0.0.1:5577 cartpole
package.path = (arg[0]:match("^(.*/)") or "./") .. "?.lua;" .. package.path
local cervello = require("cervello")

local address, name = arg[1] or "tcp://127.0.0.1:5577", arg[2] or "cartpole"
local client = cervello.open(address, { client = "example", connect_timeout_s = 5 })
local policy, ids, observations = client:policy(name), {}, {}
for agent = 1, 16 do ids[agent] = agent end
for at = 1, 16 * 4 do observations[at] = 0.01 end

local function need(result, failed)
  if failed then
    io.stderr:write(failed.kind, ": ", failed.message, "\n")
    os.exit(1)
  end
  return result
end

need(client:ready())
need(policy:begin(ids):wait(5))
local ones = {}
for row = 1, 16 do ones[row] = 1 end
for frame = 1, 100 do
  local pending = policy:infer(ids, { obs = cervello.pack("float32", observations) }, { tick = frame })
  -- the frame's physics run here, while the server decides; client:poll() never waits
  local answer = need(pending:wait(5))
  for row, action in ipairs(cervello.unpack("int64", answer.outputs.action)) do
    local at = 4 * (row - 1) + 3
    observations[at] = observations[at] + (action == 1 and 0.01 or -0.01)
  end
  need(policy:notify_reward(ids, ones))
end
need(policy:finish(ids, { inputs = { obs = cervello.pack("float32", observations) } }):wait(5))
client:close()
print("100 frames")
