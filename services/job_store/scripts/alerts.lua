-- The alerts of a job. Its fields: alert_rules (JSON list, as the configuration has them); alert_state
-- (JSON: `judged`, the last step that was looked at; `rows`, by rule, how many points in a row it held
-- for; `fired`, by rule, what for; `armed`, the attempt since which that counts); alerts (JSON list of what fired, the newest 100). An alert's
-- `delivery` is 'pending' from its first moment on, in the same write, and its job is in the list
-- 'alerting' until the control plane has noted what came of all of them (note_delivery).
--- @include emit
local MOST_ALERTS = 100

local function nothing_judged(armed)
  return {judged = '-1', rows = {}, fired = {}, armed = armed}
end

-- The rules and what is known of them; nil for a job without rules. `job` has those fields.
local function open_alerts(job)
  if (job.alert_rules or '') == '' then return nil end
  local state = nothing_judged('1')
  if (job.alert_state or '') ~= '' then state = cjson.decode(job.alert_state) end
  return {rules = cjson.decode(job.alert_rules), state = state, news = {}}
end

-- A rule fires once for the same cause.
local function fire(alerts, number, cause, found)
  local rule = tostring(number)
  if alerts.state.fired[rule] == cause then return end
  alerts.state.fired[rule] = cause
  found.rule, found.about = number - 1, found.about or cause
  append(alerts.news, found)
end

local function holds(rule, value)
  if rule.when == 'above' then return value > tonumber(rule.value) end
  if rule.when == 'below' then return value < tonumber(rule.value) end
  return value ~= value or math.abs(value) == math.huge
end

-- Judges a point: values[1] is its time, the others are of `names`. A step that comes again, after a
-- rewind or in a second delivery, was judged.
local function judge(alerts, attempt, step, names, values)
  if step <= tonumber(alerts.state.judged) then return end
  alerts.state.judged = text(step)
  for number, rule in ipairs(alerts.rules) do
    for column, name in ipairs(names) do
      if rule.metric == name then
        local row = tostring(number)
        local count = holds(rule, values[column + 1]) and (alerts.state.rows[row] or 0) + 1 or 0
        alerts.state.rows[row] = count
        if count >= rule.points then
          fire(alerts, number, 'points', {step = text(step), attempt = attempt,
                                          value = string.format('%.17g', values[column + 1])})
        end
      end
    end
  end
end

-- The same for the same step or end since the rules were armed: a step that is trained again because Redis
-- was lost fires what it fired before.
local function alert_id(job_id, alerts, found)
  local what = {job_id, alerts.state.armed or '1', found.rule, found.step, found.about}
  return 'alert_' .. redis.sha1hex(table.concat(what, ' '))
end

-- Stores what was judged, and sends what fired to the watchers.
local function save_alerts(id, job, alerts, now)
  local changes = {alert_state = cjson.encode(alerts.state)}
  local all = (job.alerts or '') ~= '' and cjson.decode(job.alerts) or {}
  for _, found in ipairs(alerts.news) do
    found.at, found.id, found.about = now, alert_id(id, alerts, found), nil
    found.delivery, found.tries = 'pending', 0
    redis.call('ZADD', index_key('alerting'), 0, id)
    append(all, found)
    if #all > MOST_ALERTS then table.remove(all, 1) end
    changes.alerts = cjson.encode(all)
    emit(id, job, 'alert', cjson.encode(found))
  end
  set_hash(job_key(id), changes)
  for field, value in pairs(changes) do job[field] = value end
end

-- A job has ended: fires the rules for that. A loss that is not finite ends a run before its point is
-- logged.
local ENDS = {failed = 'failed', succeeded = 'finished'}
local function judge_end(id, job, now)
  local alerts = ENDS[job.status] and open_alerts(job)
  if not alerts then return end
  local reason = (job.error or '') ~= '' and cjson.decode(job.error).reason
  for number, rule in ipairs(alerts.rules) do
    local fits = rule.when == ENDS[job.status]
    if rule.when == 'not_finite' and reason == 'NON_FINITE_LOSS' then fits = true end
    local found = {step = job.current_step, attempt = job.attempt, about = 'end'}
    if fits then fire(alerts, number, job.attempt, found) end
  end
  save_alerts(id, job, alerts, now)
end
