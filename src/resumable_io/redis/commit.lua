-- Replace a sentinel if it is still the one that the caller has decided upon, and do what goes with it.
--
-- KEYS   1 sentinel (hash)   2 log (stream)   3 of a channel: publication keys (sorted set, by seq)
-- ARGV   1 token that the sentinel must have, "" if it must not exist
--        2 token and 3 record of the new sentinel; an empty record removes all keys
--        4 milliseconds from now until the lease runs out   5 … until all keys expire
--        6 "1" to empty the log first
--        7 batch to append, or ""   8 seq of its first and 9 of its last event   10 its bytes
--        to keep of the log: 11 lowest seq   12 newest bytes   13 newest milliseconds, or ""
--        14 publish command   15 channel for the batch, or ""   16 channel for the record, or ""
--        to publish to a channel: 17 what the server's memory must go back to, or ""
--        18 JSON: [[publication key, seq that it must have, or "", seq to give it, or ""], …]
-- returns {1, now, contended} when it was replaced; "" unless others were refused meanwhile
--         {0, now, token, record, lease, ttl, store, seqs} when something was another: what is
--         there, times in ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'token', 'record', 'lease', 'bytes', 'contended')
local same, store, publications, seqs = (found[1] or '') == ARGV[1], ARGV[17], {}, {}
if store ~= '' then
  store = redis.call('INFO', 'replication'):match('master_replid:(%w+)') or ''
  publications = cjson.decode(ARGV[18])
  same = same and store == ARGV[17]
  for index, each in ipairs(publications) do
    seqs[index] = redis.call('ZSCORE', KEYS[3], each[1]) or ''
    same = same and seqs[index] == each[2]
  end
end
if not same then
  if store ~= '' and found[1] then
    -- Whoever was faster is told, and gives way. (When memory is full it is not.)
    redis.pcall('HSET', KEYS[1], 'contended', '1')
  end
  local ttl = redis.call('PTTL', KEYS[1])
  return {0, now, found[1] or '', found[2] or '', found[3] or '0', ttl, store, seqs}
end
if ARGV[3] == '' then
  redis.call('UNLINK', unpack(KEYS))
else
  local bytes, entry = tonumber(found[4] or 0), ARGV[9] .. '-0'
  if ARGV[7] ~= '' then
    if ARGV[6] == '1' then
      -- First of all what is refused when memory is full: to a script that has begun to write,
      -- Redis refuses nothing.
      redis.call('HSET', KEYS[1], 'token', ARGV[2])
      redis.call('UNLINK', unpack(KEYS, 2))
    end
    -- Else first of all: where it fails, nothing was changed.
    bytes = bytes + ARGV[10]
    redis.call('XADD', KEYS[2], 'MINID', ARGV[11], entry,
      'first', ARGV[8], 'batch', ARGV[7], 'bytes', bytes, 'time', now)
  elseif found[1] then
    -- What adds nothing is written even when memory is full, for the same reason.
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
  end
  redis.call('HSET', KEYS[1], 'token', ARGV[2], 'record', ARGV[3], 'lease', now + ARGV[4], 'bytes', bytes)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
  if ARGV[7] ~= '' then
    local least, since = bytes - ARGV[12], now - (tonumber(ARGV[13]) or now)
    local oldest = {entry}
    if least >= 0 or ARGV[13] ~= '' or store ~= '' then
      -- Only then, since this brings its events, too.
      oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    end
    while oldest[1] ~= entry
      and (tonumber(oldest[2][6] or 0) <= least or tonumber(oldest[2][8] or 0) < since)
    do
      redis.call('XDEL', KEYS[2], oldest[1])
      oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    end
    if store ~= '' then
      for _, each in ipairs(publications) do
        if each[3] ~= '' then
          redis.call('ZADD', KEYS[3], each[3], each[1])
        end
      end
      if found[5] == '1' then
        redis.call('HSET', KEYS[1], 'contended', '')
      end
      redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. (oldest[2][2]:match('^%d+$') or 0))
      redis.call('PEXPIRE', KEYS[3], ARGV[5])
    end
  elseif ARGV[6] == '1' then
    -- Last of all, for the same reason.
    redis.call('UNLINK', unpack(KEYS, 2))
  end
end
if ARGV[15] ~= '' then
  redis.call(ARGV[14], ARGV[15], ARGV[7])
end
if ARGV[16] ~= '' then
  redis.call(ARGV[14], ARGV[16], ARGV[3])
end
return {1, now, found[5] or ''}
