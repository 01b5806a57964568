-- create_job: prefix, job_id, request_key, body_hash, ttl_ms, config_document, of the checkpoint that
--             a fork goes on from checkpoint_id ('' for none), step, record (JSON), then field, value,
--             ...
-- Names are unique: a name that another job has gets a number, and a warning says so.
-- Returns the job.
--- @include prelude
--- @include memo
--- @include transitions
local id, config = ARGV[2], ARGV[6]
local memo = {key = ARGV[3], hash = ARGV[4], ttl_ms = ARGV[5]}
local base = {id = ARGV[7], step = tonumber(ARGV[8]), score = '', record = ARGV[9]}
local job = map({unpack(ARGV, 10)})

local function is_taken(name)
  return redis.call('EXISTS', name_key(name)) == 1
end

-- `name` with a number behind it that no job has. Doubles until one is free, then halves: a name
-- that was used n times costs about 2 log n lookups.
local function free_name(name)
  local taken, free = 1, 2
  while is_taken(name .. '-' .. text(free)) do taken, free = free, free * 2 end
  while free - taken > 1 do
    local middle = math.floor((taken + free) / 2)
    if is_taken(name .. '-' .. text(middle)) then taken = middle else free = middle end
  end
  return name .. '-' .. text(free)
end

-- `list` (a JSON array of strings) with one more.
local function appended(list, item)
  local rest = string.match(list, '^%[(.*)%]$')
  return '[' .. rest .. (rest == '' and '' or ',') .. cjson.encode(item) .. ']'
end

local first_answer = recall(memo)
if first_answer then return first_answer end
-- A child of a sweep is made once, by any control plane, and only while it runs.
local children = job.sweep_id ~= '' and item_key('sweep', job.sweep_id) .. ':children'
if children then
  local there = redis.call('HGET', children, job.sweep_child)
  if there then
    local child, err = load_job(there)
    return err or remember(memo, cjson.encode(child))
  end
  local status = redis.call('HGET', item_key('sweep', job.sweep_id), 'status')
  if not status then return not_found('sweep', job.sweep_id) end
  if status ~= 'running' then
    return refused(job.sweep_id, {status = status}, 'start a child of', '')
  end
  redis.call('HSET', children, job.sweep_child, id)
end
local now = now_ms()
if job.name ~= '' and is_taken(job.name) then
  local name = free_name(job.name)
  job.warnings = appended(job.warnings, "name: another job is named '" .. job.name ..
    "'; this one is named '" .. name .. "'")
  job.name = name
end
-- [T01]
job.v, job.job_id, job.status, job.created_at, job.updated_at = VERSION, id, 'queued', now, now
if base.id ~= '' then
  job.current_step, job.resumed_from_step = text(base.step), text(base.step)
  job.resume_checkpoint_id = base.id
end
set_hash(job_key(id), job)
redis.call('SET', job_key(id, 'config'), config)
for _, index in ipairs({'all', 'queued', 'unsent'}) do redis.call('ZADD', index_key(index), 0, id) end
if job.name ~= '' then redis.call('ZADD', name_key(job.name), 0, id) end
for tag in each_tag(job.tags) do redis.call('ZADD', tag_key(tag), 0, id) end
emit_state(id, job, now)
if base.id ~= '' then register(id, job, base, now) end
return remember_of_job(id, 'start', memo, cjson.encode(job))
