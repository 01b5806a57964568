-- note_delivery: prefix, job_id, alert_id ('' for none), delivery, tries, problem. Notes what came of a
-- request to deliver an alert: 'delivered', 'failed', 'pending' again, or '' where it has no receiver.
-- What is not pending any more stays. Takes the job off the list once none is pending. Returns how many
-- are; 'none' where there is no such job.
--- @include prelude
local id, noted, delivery, tries, problem = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]

local stored = redis.call('HGET', job_key(id), 'alerts')
if not stored then return {'none'} end
local alerts, pending = cjson.decode(stored), 0
for _, alert in ipairs(alerts) do
  if alert.id == noted and alert.delivery == 'pending' then
    alert.delivery, alert.tries, alert.problem = delivery, tries, problem
  end
  pending = pending + (alert.delivery == 'pending' and 1 or 0)
end
redis.call('HSET', job_key(id), 'alerts', cjson.encode(alerts))
if pending == 0 then redis.call('ZREM', index_key('alerting'), id) end
return {'ok', pending}
