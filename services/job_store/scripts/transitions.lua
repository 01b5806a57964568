-- The state machine's moves, shared by the scripts that change a job's state.
--- @include record
--- @include attempts
--- @include alerts

-- How long workers have held the job until `moment`, all attempts together.
local function running_ms(job, moment)
  local ran, since = tonumber(job.ran_ms or '0'), tonumber(job.running_since)
  return text(since and ran + math.max(0, tonumber(moment) - since) or ran)
end

-- No worker holds the job since `moment`. Does nothing to the count where none has held it.
local function stop_clock(id, job, moment)
  set_fields(id, job, {ran_ms = running_ms(job, moment), running_since = ''})
end

local function emit_state(id, job, now)
  local event = emit(id, job, 'state', cjson.encode({
    status = job.status, attempt = job.attempt, at = now, step = job.current_step,
    message = job.message, error = job.error, running_ms = running_ms(job, now)}))
  set_fields(id, job, {state_event = event})
end

-- Puts a message in the job's status and sends it to the watchers.
local function say(id, job, message)
  local now = now_ms()
  set_fields(id, job, {message = message, updated_at = now})
  emit_state(id, job, now)
end

local TERMINAL = {stopped = true, succeeded = true, failed = true}

-- Moves the job to a state: fields, index, event.
local function move(id, job, status, now, changes)
  redis.call('ZREM', index_key(job.status), id)
  redis.call('ZADD', index_key(status), 0, id)
  if not is_held(status) then stop_clock(id, job, now) end
  changes.status = status
  changes.updated_at = now
  changes.completed_at = TERMINAL[status] and now or ''
  if status ~= 'stopping' then
    changes.stop_requested_at = ''
    changes.stop_deadline = ''
  end
  if status ~= 'queued' then
    redis.call('ZREM', index_key('unsent'), id)
    redis.call('ZREM', index_key('delayed'), id)
  end
  set_fields(id, job, changes)
  judge_end(id, job, now)
  emit_state(id, job, now)
end

local function newest_checkpoint(id)
  local newest = redis.call('ZRANGE', job_key(id, 'checkpoints'), -1, -1, 'WITHSCORES')
  return newest[1] or '', tonumber(newest[2] or 0)
end

-- Whether the job has saved the step at which it was told to stop from the start.
local function is_where_it_stops(id, job)
  local stop_at_step = tonumber(job.stop_at_step)
  local _, newest = newest_checkpoint(id)
  return stop_at_step ~= nil and newest >= stop_at_step
end

local function update_best(id, job)
  local best = redis.call('ZRANGE', job_key(id, 'checkpoint_scores'), 0, 0)[1] or ''
  if best ~= job.best_checkpoint_id then set_fields(id, job, {best_checkpoint_id = best}) end
end

-- Remembers the answer to a request, and notes the newest request of each kind beside the job, so that
-- the journal has it: its repetition gets an answer also where Redis was lost in between.
local function remember_of_job(id, kind, memo, answer)
  if memo.hash ~= '-' then redis.call('HSET', job_key(id, 'requests'), kind, memo.key .. ' ' .. memo.hash) end
  return remember(memo, answer)
end

-- Takes a checkpoint out of the registry; its record stays until its files are gone.
local function retire_checkpoint(id, checkpoint_id)
  redis.call('ZREM', job_key(id, 'checkpoints'), checkpoint_id)
  redis.call('ZREM', job_key(id, 'checkpoint_scores'), checkpoint_id)
  redis.call('SADD', job_key(id, 'retired_checkpoints'), checkpoint_id)
  redis.call('DEL', item_key('checkpoint', checkpoint_id))
  ask_for_sweep(id, now_ms())
end

-- Enters a checkpoint in the registry: {id, step, score ('' or what it is compared by), record
-- (JSON)}.
local function register(id, job, saved, now)
  local step, score = saved.step, saved.score
  -- An attempt that ends where it began saves that step again. The new one takes the place of the
  -- old, and its score where it has none: steps are unique, and a step was measured once.
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', job_key(id, 'checkpoints'), step, step)) do
    if score == '' then
      score = redis.call('ZSCORE', job_key(id, 'checkpoint_scores'), old) or ''
    end
    retire_checkpoint(id, old)
  end
  -- The record keeps the bytes it came with: cjson would cut its numbers to 14 digits.
  local stored = now .. '\n' .. saved.record
  redis.call('HSET', job_key(id, 'checkpoint_data'), saved.id, stored)
  redis.call('ZADD', job_key(id, 'checkpoints'), step, saved.id)
  redis.call('SET', item_key('checkpoint', saved.id), id)
  if score ~= '' then
    redis.call('ZADD', job_key(id, 'checkpoint_scores'), score, saved.id)
    update_best(id, job)
  end
  -- The sweep keeps a retired checkpoint's files while the job has no other; now it has one.
  if redis.call('SCARD', job_key(id, 'retired_checkpoints')) > 0 then ask_for_sweep(id, now) end
  set_fields(id, job, {fresh_checkpoint = '1', consecutive_failures = '0', updated_at = now})
  emit(id, job, 'checkpoint', stored, job.best_checkpoint_id)
end

local function supersede_checkpoints(id, job, step)
  local later = redis.call('ZRANGEBYSCORE', job_key(id, 'checkpoints'), '(' .. text(step), '+inf')
  for _, checkpoint_id in ipairs(later) do retire_checkpoint(id, checkpoint_id) end
  if #later > 0 then update_best(id, job) end
end

-- Finds the latest values after a cut. Reads the newest visible points of each attempt, newest
-- first, until every metric is found or 2,000 points are read: other clients wait meanwhile.
local function rebuild_latest(id, cut)
  local latest, names, missing = {}, {}, {}
  for columns, schema in pairs(read_hash(job_key(id, 'schemas'))) do
    names[schema] = split(columns)
    for _, name in ipairs(names[schema]) do missing[name] = true end
  end

  local function take(entry)
    local step, schema, packed = leading_number(entry[1]), entry[2][1], entry[2][2]
    for column, name in ipairs(names[schema]) do
      if missing[name] then
        local value = struct.unpack('<d', packed, 8 * column + 1)  -- behind the time
        latest[name] = struct.pack('<dd', step, value)
        missing[name] = nil
      end
    end
  end

  local attempts = read_attempts(id)
  local numbers = attempts_between(id, 1, math.huge)
  local limit, points_read = cut, 0
  for i = #numbers, 1, -1 do
    if not next(missing) or points_read >= 2000 then break end
    local entries = redis.call('XREVRANGE', job_key(id, 'metrics', numbers[i]), text(limit), '-',
                               'COUNT', 300)
    points_read = points_read + #entries
    for _, entry in ipairs(entries) do take(entry) end
    limit = math.min(limit, tonumber(attempts[text(numbers[i])].start_step))
  end
  redis.call('DEL', job_key(id, 'latest'))
  set_hash(job_key(id, 'latest'), latest)
end

local function write_attempt(id, attempt, entry)
  redis.call('HSET', job_key(id, 'attempts'), attempt, cjson.encode(entry))
end

local function read_attempt(id, attempt)
  local entry = redis.call('HGET', job_key(id, 'attempts'), attempt)
  return entry and cjson.decode(entry) or nil
end

-- From now on `attempt` continues after `step`: what earlier attempts logged beyond is hidden.
-- `visible_step` is the largest step of a point that readers see.
local function cut_history(id, job, attempt, step, now)
  if tonumber(job.visible_step) > step then
    rebuild_latest(id, step)
    set_fields(id, job, {visible_step = text(step)})
    local before = read_attempt(id, tonumber(attempt) - 1)
    emit(id, job, 'rewound', cjson.encode({
      to_step = text(step), attempt = attempt, at = now, after = before and before.outcome}))
  end
end

local function end_attempt(id, attempt, outcome, now)
  redis.call('UNLINK', job_key(id, 'places'))
  local entry = read_attempt(id, attempt)
  if entry then
    entry.outcome = outcome
    entry.ended_at = now
    write_attempt(id, attempt, entry)
  end
  ask_for_sweep(id, now)  -- files that it saved and did not register are to be removed
end

-- `delayed`: its message is not sent before the reconciler releases it.
local function requeue(id, job, now, changes, delayed)
  changes.attempt = text(tonumber(job.attempt) + 1)
  changes.claim_id, changes.worker_id, changes.enqueued_at, changes.error = '', '', '', ''
  if delayed then
    redis.call('ZADD', index_key('delayed'), now, id)
  else
    redis.call('ZADD', index_key('unsent'), 0, id)
    -- The call that resumes an ended job sends the message itself; here the reconciler has to.
    if is_held(job.status) then
      redis.call('XADD', PREFIX .. 'notices', 'MAXLEN', '~', 1000, '*', 'job', id,
                 'attempt', changes.attempt, 'claim', '')
    end
  end
  move(id, job, 'queued', now, changes)
end

-- Errors that another attempt would meet too if it began at once: retries would be used up within
-- seconds.
local CURED_BY_TIME = {DISK_FULL = true, CHECKPOINT_FAILED = true, INPUT_OUTPUT = true,
                       RESUME_IMPOSSIBLE = true}

-- Ends an attempt whose worker is gone, or whose trainer died: retries it, fails the job, or stops it
-- where a stop was requested. `fresh_checkpoint` is '1' where this attempt has registered a
-- checkpoint: then it does not count as a failure in a row.
local function end_lost_attempt(id, job, outcome, error_json, message, now)
  -- A worker that vanished counts as working until its last report, not until this was noticed.
  if outcome == 'lost' then stop_clock(id, job, job.updated_at) end
  end_attempt(id, job.attempt, outcome, now)
  local _, step = newest_checkpoint(id)
  if job.status == 'stopping' then  -- [T11]
    local left = step > 0 and 'its last registered checkpoint, step ' .. text(step)
      or 'step 0, for no checkpoint is registered'
    move(id, job, 'stopped', now, {
      message = 'the attempt ended before it could stop by itself (' .. message ..
        '); the job can be resumed from ' .. left ..
        ', or from a later one that the attempt saved'})
    return
  end
  local failures = tonumber(job.consecutive_failures)
  if job.fresh_checkpoint ~= '1' then failures = failures + 1 end
  local allowed = tonumber(job.max_retries)
  if failures > allowed then  -- [T10]
    move(id, job, 'failed', now, {
      consecutive_failures = text(failures), error = error_json,
      message = text(failures) .. ' attempts in a row ended without a new checkpoint (max_retries ' ..
        text(allowed) .. ')'})
    return
  end
  local reason = error_json ~= '' and cjson.decode(error_json).reason
  local delayed = CURED_BY_TIME[reason] or false
  requeue(id, job, now, {  -- [T09]
    consecutive_failures = text(failures),
    message = 'attempt ' .. job.attempt .. ' ended early and is tried again' ..
      (delayed and ' after a pause: ' or ': ') .. message}, delayed)
end
