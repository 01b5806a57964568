-- Summaries at write time: buckets of 2^level points, level 3 and up, one stream a level.
-- A full bucket is appended to its level and merged into the open bucket of the level above, so
-- a point costs two merges on average. Bucket, as doubles: index, first step, last step, count,
-- time, then (min, max, last) for each column of the attempt; NaN where it was not logged.
local BASE_LEVEL, TOP_LEVEL, KEPT_BUCKETS = 3, 30, 4096
local NAN = 0 / 0

local function is_finite(number)
  return number == number and math.abs(number) ~= math.huge
end

local function empty_bucket(index)
  return {index = index, first = 0, last = 0, count = 0, time = 0, extents = {}}
end

local function merge(bucket, first, last, count, time, extents)
  if bucket.count == 0 then bucket.first = first end
  bucket.last, bucket.time = last, time
  bucket.count = bucket.count + count
  for i = 1, #extents, 3 do
    local low, high, final = extents[i], extents[i + 1], extents[i + 2]
    if is_finite(final) then
      local e = bucket.extents
      while #e < i do
        local n = #e
        e[n + 1], e[n + 2], e[n + 3] = NAN, NAN, NAN
      end
      -- `not <=` rather than `>`: a comparison with NaN is false, and NaN is to be replaced.
      if not (e[i] <= low) then e[i] = low end
      if not (e[i + 1] >= high) then e[i + 1] = high end
      e[i + 2] = final
    end
  end
end

local function pack_bucket(b)
  return struct.pack('<' .. string.rep('d', 5 + #b.extents), b.index, b.first, b.last, b.count,
                     b.time, unpack(b.extents))
end

local function unpack_bucket(packed)
  local v = {struct.unpack('<' .. string.rep('d', #packed / 8), packed)}
  local extents = {}
  for i = 6, #v - 1 do append(extents, v[i]) end  -- the last value is unpack's position
  return {index = v[1], first = v[2], last = v[3], count = v[4], time = v[5], extents = extents}
end

-- Returns fold(step, names, values), which adds a point (values[1] is its time), and
-- save(last_step, points), which stores the open buckets.
local function summariser(summary, known_columns)
  local open, column_of, columns = {}, {}, split(known_columns or '')
  for column, name in ipairs(columns) do column_of[name] = column end

  local function opened(level)
    if not open[level] then
      local packed = redis.call('HGET', summary, 'open' .. level)
      open[level] = packed and unpack_bucket(packed) or empty_bucket(0)
    end
    return open[level]
  end

  local function close_full(level)
    local b = open[level]
    if b.count < 2 ^ level then return end
    redis.call('XADD', summary .. ':' .. level, 'MAXLEN', '~', KEPT_BUCKETS,
               text(b.last) .. '-1', 'b', pack_bucket(b))
    if level < TOP_LEVEL then
      merge(opened(level + 1), b.first, b.last, b.count, b.time, b.extents)
      close_full(level + 1)
    end
    open[level] = empty_bucket(b.index + 1)
  end

  local function fold(step, names, values)
    local extents = {}
    for i, name in ipairs(names) do
      if not column_of[name] then
        append(columns, name)
        column_of[name] = #columns
      end
      local at, value = 3 * column_of[name] - 2, values[i + 1]
      while #extents < at - 1 do extents[#extents + 1] = NAN end
      extents[at], extents[at + 1], extents[at + 2] = value, value, value
    end
    merge(opened(BASE_LEVEL), step, step, 1, values[1], extents)
    close_full(BASE_LEVEL)
  end

  local function save(last_step, points)
    local flat = {'last', text(last_step), 'points', text(points),
                  'columns', table.concat(columns, ',')}
    for level, bucket in pairs(open) do
      append(flat, 'open' .. level)
      append(flat, pack_bucket(bucket))
    end
    redis.call('HSET', summary, unpack(flat))
  end

  return fold, save
end
