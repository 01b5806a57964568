-- publish_metrics: prefix, job_id, attempt, claim_id, of_attempt, tokens_seen,
--                  then (step, columns, packed, samples) for each point.
-- packed is time and values as little-endian doubles; columns names the values.
-- samples are the texts sampled at the step, as they are read back; '' where there are none.
-- The entry of a step is `{step}-1`: a step is stored once, and 0-0 would not be an id.
-- Returns signals.
--- @include prelude
--- @include fence
--- @include attempts
--- @include summaries
--- @include alerts
local id, attempt, claim, target, tokens_seen = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local first_point = 7

local stale, job = fence(id, attempt, claim)
if stale then return stale end
local reached = leading_number(job.last_point)
if target ~= attempt and reached == tonumber(attempt) then
  return refused(id, job, 'complete an earlier attempt of',
                 'this attempt has already published points')
end
local stream, summary = job_key(id, 'metrics', target), job_key(id, 'summary', target)
local state = redis.call('HMGET', summary, 'last', 'points', 'columns')
local last_step = tonumber(state[1] or '-1')

-- An earlier attempt is completed only up to the step where its successors took over.
local limit = math.huge
if target ~= attempt then
  for number, entry in pairs(read_attempts(id)) do
    if tonumber(number) > tonumber(target) then
      limit = math.min(limit, tonumber(entry.start_step))
    end
  end
end

local schemas, latest, added, received = {}, {}, 0, 0
local fold, save = summariser(summary, state[3])
local known = redis.call('HMGET', job_key(id), 'alert_rules', 'alert_state', 'alerts')
job.alert_rules, job.alert_state, job.alerts = known[1] or '', known[2] or '', known[3] or ''
local alerts = open_alerts(job)

local function schema_of(columns)
  if not schemas[columns] then
    local key = job_key(id, 'schemas')
    local number = redis.call('HGET', key, columns)
    if not number then
      number = text(redis.call('HLEN', key))
      redis.call('HSET', key, columns, number)
    end
    local names = split(columns)
    schemas[columns] = {number = number, names = names,
                        format = '<' .. string.rep('d', #names + 1)}
  end
  return schemas[columns]
end

for i = first_point, #ARGV, 4 do
  local step, packed, samples = tonumber(ARGV[i]), ARGV[i + 2], ARGV[i + 3]
  if step > last_step and step <= limit then
    local schema = schema_of(ARGV[i + 1])
    redis.call('XADD', stream, ARGV[i] .. '-1', schema.number, packed)
    if samples ~= '' then
      redis.call('XADD', job_key(id, 'samples', target), ARGV[i] .. '-1', 't', samples)
    end
    local values = {struct.unpack(schema.format, packed)}
    for column, name in ipairs(schema.names) do latest[name] = {step, values[column + 1]} end
    fold(step, schema.names, values)
    if alerts then judge(alerts, target, step, schema.names, values) end
    last_step, added = step, added + 1
  end
  received = received + 1
end
if added == 0 then return signals(job, received, received) end

save(last_step, tonumber(state[2] or '0') + added)
-- A point that completes an earlier attempt must not replace a later value.
local shown = target == attempt and {} or read_hash(job_key(id, 'latest'))
for name, newest in pairs(latest) do
  local step, value = newest[1], newest[2]
  local is_newer = not shown[name] or struct.unpack('<d', shown[name]) <= step
  latest[name] = is_newer and struct.pack('<dd', step, value) or nil
end
set_hash(job_key(id, 'latest'), latest)
local visible = tonumber(redis.call('HGET', job_key(id), 'visible_step'))
local changes = {visible_step = text(math.max(visible, last_step))}
if tonumber(target) >= reached then changes.last_point = target .. ':' .. text(last_step) end
if target == attempt and last_step > tonumber(job.current_step) then
  local now = now_ms()
  changes.current_step, changes.progress_at, changes.updated_at = text(last_step), now, now
end
if tokens_seen ~= '' then changes.tokens_seen = tokens_seen end
set_hash(job_key(id), changes)
if alerts then
  job.last_point = changes.last_point or job.last_point
  save_alerts(id, job, alerts, now_ms())
end
return signals(job, received, received - added)
