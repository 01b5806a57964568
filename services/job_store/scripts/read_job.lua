-- read_job: prefix, job_id, with_config (1 or 0). Returns the record as JSON, with the time of
-- reading ('' where there is none), and its config document.
--- @include prelude
--- @include record
local id, with_config = ARGV[2], ARGV[3] == '1'

return {'ok', record_json(id, now_ms()), with_config and redis.call('GET', job_key(id, 'config')) or ''}
