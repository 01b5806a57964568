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

-- At least the first `wanted` visible points of the segments, or all: raw ones packed into the
-- first result; the second names the archived files of older ones as {attempt, first step, last
-- step, segment}, in order; the third is the number of points that are there for certain (the
-- points of a file that a segment's edge cuts through are not counted).
local function visible_points(id, segments, wanted)
  local out, files, sure = {}, {}, 0
  for _, s in ipairs(segments) do
    local attempt, first, last = s[1], s[2], s[3]
    local offset, found, beyond = 0, nil, false
    while sure < wanted and not beyond and (not found or #found == 16) do
      found = redis.call('ZRANGE', job_key(id, 'archive', attempt), text(first), '+inf', 'BYSCORE',
                         'LIMIT', offset, 16)
      offset = offset + 16
      for _, stored in ipairs(found) do
        local segment = cjson.decode(stored)
        beyond = beyond or segment.first_step > last or sure >= wanted
        if not beyond then
          files[#files + 1] = {attempt, text(first), text(last), stored}
          if segment.first_step >= first and segment.last_step <= last then
            sure = sure + segment.points
          end
        end
      end
    end
    if sure < wanted then
      local entries = redis.call('XRANGE', job_key(id, 'metrics', attempt), text(first) .. '-0',
                                 text(last), 'COUNT', wanted - sure)
      for _, entry in ipairs(entries) do pack_entry(out, attempt, entry) end
      sure = sure + #entries
    end
  end
  return table.concat(out), files, sure
end
