-- publish_metrics: prefix, job_id, attempt, claim_id, of_attempt, tokens_seen,
--                  then (step, columns, packed) for each point.
-- packed is time and values as little-endian doubles; columns names the values.
-- The entry of a step is `{step}-1`: a step is stored once, and 0-0 would not be an id.
local id, attempt, target = ARGV[2], ARGV[3], ARGV[5]
local stale, fenced = fence(id, attempt, ARGV[4])
if stale then return stale end
local reached = tonumber(string.match(fenced.last_point, '^%d+'))
if target ~= attempt and reached == tonumber(attempt) then
  return {'refused', id, fenced.status, 'complete an earlier attempt of',
          'this attempt has already published points'}
end
local stream, summary = job_key(id, 'metrics', target), job_key(id, 'summary', target)
local state = redis.call('HMGET', summary, 'last', 'points', 'columns')
local last_step = tonumber(state[1] or '-1')

-- An older attempt may be completed only up to the step where its successors took over.
local limit = math.huge
if target ~= attempt then
  for number, entry in pairs(map(redis.call('HGETALL', job_key(id, 'attempts')))) do
    if tonumber(number) > tonumber(target) then
      limit = math.min(limit, tonumber(cjson.decode(entry).start_step))
    end
  end
end

local schemas, latest, added, seen = {}, {}, 0, 0
local fold, save = summariser(summary, state[3])

local function schema_of(columns)
  if not schemas[columns] then
    local key = job_key(id, 'schemas')
    local schema = redis.call('HGET', key, columns)
    if not schema then
      schema = text(redis.call('HLEN', key))
      redis.call('HSET', key, columns, schema)
    end
    local names = {}
    for name in string.gmatch(columns, '[^,]+') do names[#names + 1] = name end
    schemas[columns] = {schema, names, '<' .. string.rep('d', #names + 1)}
  end
  return schemas[columns]
end

for i = 7, #ARGV, 3 do
  local step = tonumber(ARGV[i])
  if step > last_step and step <= limit then
    local schema = schema_of(ARGV[i + 1])
    redis.call('XADD', stream, ARGV[i] .. '-1', schema[1], ARGV[i + 2])
    local values = {struct.unpack(schema[3], ARGV[i + 2])}
    for column, name in ipairs(schema[2]) do
      latest[name] = {step, values[column + 1]}
    end
    fold(step, schema[2], values)
    last_step, added = step, added + 1
  end
  seen = seen + 1
end

local now = now_ms()
if added > 0 then
  save(last_step, tonumber(state[2] or '0') + added)
  -- What completes an earlier attempt must not take the place of points beyond it.
  local shown = target == attempt and {} or map(redis.call('HGETALL', job_key(id, 'latest')))
  local flat = {}
  for name, newest in pairs(latest) do
    if not shown[name] or struct.unpack('<d', shown[name]) <= newest[1] then
      flat[#flat + 1] = name
      flat[#flat + 1] = struct.pack('<dd', newest[1], newest[2])
    end
  end
  if #flat > 0 then redis.call('HSET', job_key(id, 'latest'), unpack(flat)) end
  local visible = tonumber(redis.call('HGET', job_key(id), 'visible_step'))
  local changes = {'visible_step', text(math.max(visible, last_step))}
  if tonumber(target) >= reached then
    changes[3] = 'last_point'
    changes[4] = target .. ':' .. text(last_step)
  end
  if target == attempt and last_step > tonumber(fenced.current_step) then
    for _, change in ipairs({'current_step', text(last_step), 'progress_at', now,
                             'updated_at', now}) do
      changes[#changes + 1] = change
    end
  end
  if ARGV[6] ~= '' then
    changes[#changes + 1] = 'tokens_seen'
    changes[#changes + 1] = ARGV[6]
  end
  redis.call('HSET', job_key(id), unpack(changes))
end
return signals(fenced, seen, seen - added)
