-- settle_sweep: prefix, sweep_id, status ('' for one that is gone). Takes a sweep that is still in this
-- state off the list of those that are driven. Returns nothing.
--- @include prelude
local id, status = ARGV[2], ARGV[3]

if (redis.call('HGET', item_key('sweep', id), 'status') or '') == status then
  redis.call('SREM', PREFIX .. 'sweeps:open', id)
end
return {'ok'}
