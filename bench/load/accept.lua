-- Sends the request of a template file over and over, every event with a key of its own.
-- Arguments after `--`: the template file and a seed that no other run uses.

local pieces = {}

-- Splits the template at its placeholders; pieces[i] is text, or one of the two markers.
local function split(text)
  local position = 1
  while true do
    local first, last, name = text:find("@(%u+)@", position)
    if not first then
      pieces[#pieces + 1] = text:sub(position)
      return
    end
    pieces[#pieces + 1] = text:sub(position, first - 1)
    pieces[#pieces + 1] = name
    position = last + 1
  end
end

local key = ""
local filled = {}

-- Every event asks for its user first, then twice for its key: as order number and as key.
local function fill(name)
  if name == "USER" then
    key = string.format("%08x%08x", math.random(0, 2147483647), math.random(0, 2147483647))
    return string.format("%06d", math.random(0, 99999))
  end
  return key
end

function init(arguments)
  local file = assert(io.open(arguments[1], "r"))
  split(file:read("*a"))
  file:close()
  math.randomseed(tonumber(arguments[2]))
end

function request()
  for index = 1, #pieces do
    if index % 2 == 0 then
      filled[index] = fill(pieces[index])
    else
      filled[index] = pieces[index]
    end
  end
  return table.concat(filled)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"refused":%d,"broken":%d,"p50_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
