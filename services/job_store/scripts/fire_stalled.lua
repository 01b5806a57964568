-- fire_stalled: prefix, job_id, attempt, claim_id, sign, seconds. The attempt has shown the same sign of
-- life for so long: fires the rules for that, once for the same sign. Returns 1; 'none' for an attempt
-- that is not held any more.
--- @include prelude
--- @include fence
--- @include alerts
local id, attempt, claim, sign, seconds = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])

if fence(id, attempt, claim) then return {'none'} end
local job = read_hash(job_key(id))
local alerts = open_alerts(job)
if not alerts then return {'none'} end
for number, rule in ipairs(alerts.rules) do
  if rule.when == 'stalled' and seconds >= tonumber(rule.seconds) then
    fire(alerts, number, attempt .. ' ' .. sign, {step = job.current_step, attempt = attempt})
  end
end
save_alerts(id, job, alerts, now_ms())
return {'ok', 1}
