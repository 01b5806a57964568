-- What readers see: the segments of the attempts, and raw entries packed into one string.
-- A single reply string is read many times faster by a client than thousands of small ones.

-- {attempt, first step, last step} in ascending order; clipped to lo..hi.
local function visible_segments(id, lo, hi)
  local starts = {}
  for number, entry in pairs(map(redis.call('HGETALL', job_key(id, 'attempts')))) do
    starts[#starts + 1] = {tonumber(number), tonumber(cjson.decode(entry).start_step)}
  end
  table.sort(starts, function(a, b) return a[1] > b[1] end)
  local segments, limit = {}, hi
  for _, s in ipairs(starts) do
    -- A fresh start includes step 0; a resumed one begins after the step it resumed from.
    local first = math.max(lo, s[2] > 0 and s[2] + 1 or 0)
    if first <= limit then table.insert(segments, 1, {s[1], first, limit}) end
    limit = math.min(limit, s[2])
  end
  return segments
end

local function step_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

-- Appends step (double), attempt, schema (uint16) and the packed doubles to `out`.
local function pack_entry(out, attempt, entry)
  out[#out + 1] = struct.pack('<dHH', step_of(entry), attempt, tonumber(entry[2][1]))
  out[#out + 1] = entry[2][2]
end
