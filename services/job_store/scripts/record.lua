-- A job's record, and the sweep of its files.

local function snapshot(job)
  return {'ok', cjson.encode(job)}
end

-- The whole record (without its config document), or nil and the error reply.
local function load_job(id)
  local job = read_hash(job_key(id))
  if not next(job) then return nil, not_found('job', id) end
  if job.v ~= VERSION then return nil, {'version', 'job', id, job.v or 'none'} end
  return job
end

-- The record as JSON, with the time of reading; '' where there is none. One string is read many
-- times faster by a client than forty fields.
local function record_json(id, now)
  local job = read_hash(job_key(id))
  if not next(job) then return '' end
  job.read_at = now
  return cjson.encode(job)
end

local function set_fields(id, job, changes)
  set_hash(job_key(id), changes)
  for field, value in pairs(changes) do job[field] = value end
end

-- Enters the job for a sweep: some of its files may not be needed. The control plane looks through
-- them a while after the first such call.
local function ask_for_sweep(id, now)
  redis.call('ZADD', index_key('sweep'), 'NX', now, id)
end
