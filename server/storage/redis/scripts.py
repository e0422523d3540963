"""The scripts that run inside Redis: what must be looked at and changed in one step.

Fields of a session's hash: `r` the record as JSON, `e` its epoch, `u` its member name, `w` how many messages wait,
`v` its version, `q` the seq of its newest event, `g` the generation it was written in; of the open run `o` its id,
`f` its fence, `n` the node that has it; `h` who may commit alone until when; `c:<node>` the last commit taken from each
node (`<token>:<version>`); `ob` the bytes of collapsed frames.

Versions, fences and seqs stay far below 2^53, so Lua's numbers are exact.
"""

from __future__ import annotations

from typing import Final

from .commit_script import COMMIT, COMMIT_END
from .script import ALWAYS, READS, Script

# KEYS: one key. ARGV: a command without it, run also when memory is full.
DIRECT: Final = Script(ALWAYS + "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))")

# KEYS: a sorted set. ARGV: member, score, … : each is removed if its score is still that. Returns how many.
DROP: Final = Script(
    ALWAYS
    + """
local dropped = 0
for at = 1, #ARGV, 2 do
    local score = redis.call('ZSCORE', KEYS[1], ARGV[at])
    if score and tonumber(score) == tonumber(ARGV[at + 1]) then
        dropped = dropped + redis.call('ZREM', KEYS[1], ARGV[at])
    end
end
return dropped
"""
)

# KEYS: s, log, old, ends. ARGV: first, last, frames, bytes to keep. Returns when the next ended run ended.
REPLACE: Final = Script(
    ALWAYS
    + """
local head = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if redis.call('EXISTS', KEYS[1]) == 0 or not head or head[2][2] ~= ARGV[1] then return false end
if #redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2]) == 0 then return false end
redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[2] + 1)
redis.call('XADD', KEYS[3], ARGV[2] .. '-0', 'a', ARGV[1], 'f', ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', ARGV[2])
local bytes = redis.call('HINCRBY', KEYS[1], 'ob', #ARGV[3])
while bytes > tonumber(ARGV[4]) do
    local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
    if not oldest then break end
    redis.call('XTRIM', KEYS[3], 'MINID', '=', string.match(oldest[1], '^%d+') + 1)
    bytes = redis.call('HINCRBY', KEYS[1], 'ob', -#oldest[2][4])
end
local ttl = redis.call('PTTL', KEYS[1])
if ttl > 0 then redis.call('PEXPIRE', KEYS[3], ttl) end
return redis.call('ZRANGE', KEYS[4], 0, 0)[1] or ''
"""
)

# KEYS: s. ARGV: run, node. Returns the new version, the member name, the node that had it.
SEIZE: Final = Script(
    ALWAYS
    + """
local s = redis.call('HMGET', KEYS[1], 'o', 'v', 'u', 'n')
if s[1] ~= ARGV[1] then return false end
local version = s[2] + 1
redis.call('HSET', KEYS[1], 'v', version, 'f', version, 'n', ARGV[2])
return {version, s[3], s[4]}
"""
)

# KEYS: s. ARGV: node, milliseconds. Returns 0 when another node has it.
HOLD: Final = Script(
    ALWAYS
    + """
local held = redis.call('HMGET', KEYS[1], 'v', 'h')
if not held[1] then return 1 end
local now = redis.call('TIME')
local ms = math.floor(now[1] * 1000 + now[2] / 1000)
if held[2] then
    local holder, till = string.match(held[2], '^(.*):(%d+)$')
    if holder ~= ARGV[1] and ms < tonumber(till) then return 0 end
end
redis.call('HSET', KEYS[1], 'h', ARGV[1] .. ':' .. string.format('%d', ms + tonumber(ARGV[2])))
return 1
"""
)

# KEYS: s, log, old, ends. ARGV: version, generation, epoch, record, then first, last, frames of each entry that stays.
RENEW: Final = Script(
    ALWAYS
    + """
local s = redis.call('HMGET', KEYS[1], 'v', 'o')
if s[1] ~= ARGV[1] then return 0 end
local ttl = redis.call('PTTL', KEYS[1])
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
local q = redis.call('HGET', KEYS[1], 'q')
for at = 5, #ARGV, 3 do
    redis.call('XADD', KEYS[2], ARGV[at + 1] .. '-0', 'a', ARGV[at], 'f', ARGV[at + 2])
end
if ttl > 0 then redis.call('PEXPIRE', KEYS[2], ttl) end
redis.call('HDEL', KEYS[1], 'ob')
local version = s[1] + 1
redis.call('HSET', KEYS[1], 'v', version, 'g', ARGV[2], 'e', ARGV[3], 'r', ARGV[4])
if s[2] then redis.call('HSET', KEYS[1], 'f', version) end
return 1
"""
)

# KEYS: generation. ARGV: the generation the caller knows of, then run id and whether it has all, of each server.
# Returns the generation, and 1 when data was lost.
GENERATION: Final = Script(
    ALWAYS
    + """
local known = tonumber(ARGV[1])
local stored = tonumber(redis.call('HGET', KEYS[1], 'n') or '0')
local now, lost = math.max(stored, known), 0
if now == 0 then now = 1
elseif stored < known then lost = 1
end
for at = 2, #ARGV, 2 do
    local is_new = redis.call('HEXISTS', KEYS[1], 'id:' .. ARGV[at]) == 0
    if ARGV[at + 1] == 'lost' or is_new and ARGV[at + 1] == 'unsure' and stored + known > 0 then
        lost = 1
    end
end
now = now + lost
redis.call('HSET', KEYS[1], 'n', now)
for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], 'id:' .. ARGV[at], now) end
return {now, lost}
"""
)

# KEYS: s, log, end, runs. ARGV: version, epoch, seq ('' for none), run, generation, most bytes of frames.
# Returns what is the case: same; absent; ended with its grave; other (the generation); or changed with fields of s, the
# frames (false: not kept), the open run, what is stored of the run asked for, and after what the frames are.
CHANGES: Final = Script(
    READS
    + """
local s = redis.call('HMGET', KEYS[1], 'r', 'v', 'q', 'f', 'n', 'o', 'e', 'g')
if not s[1] then
    local grave = redis.call('GET', KEYS[3])
    if grave then return {'ended', grave} end
    return {'absent'}
end
if s[8] ~= ARGV[5] then return {'other'} end
if s[2] == ARGV[1] and s[7] == ARGV[2] then return {'same'} end
local run = s[6] and redis.call('HGET', KEYS[4], s[6])
local ended = ARGV[4] ~= '' and ARGV[4] ~= s[6] and redis.call('HGET', KEYS[4], ARGV[4])
local after, q, most = tonumber(ARGV[3]), tonumber(s[3]), tonumber(ARGV[6])
if not after then
    after, most = q, math.huge
    if run then after = math.max(0, cjson.decode(run).first - 1) end
end
local frames, place, size = {}, after, 0
if s[7] ~= ARGV[2] and ARGV[3] ~= '' then place = nil end
while place and place < q do
    local entries = redis.call('XRANGE', KEYS[2], place + 1, '+', 'COUNT', 64)
    if #entries == 0 then place = nil end
    for _, entry in ipairs(entries) do
        if tonumber(entry[2][2]) > place + 1 or size > most then
            place = nil
            break
        end
        frames[#frames + 1] = entry[2][2]
        frames[#frames + 1] = entry[2][4]
        size = size + #entry[2][4]
        place = tonumber(string.match(entry[1], '^%d+'))
    end
end
if place ~= q then frames = false end
return {'changed', s[1], s[2], s[3], s[4], s[5], frames, run, ended, after}
"""
)

# KEYS: old, log. ARGV: after, bytes. Returns last, first and frames of each entry, oldest first.
READ_LOG: Final = Script(
    READS
    + """
local found, size, place = {}, 0, ARGV[1]
for _, key in ipairs(KEYS) do
    local entries
    repeat
        entries = redis.call('XRANGE', key, place + 1, '+', 'COUNT', 32)
        for _, entry in ipairs(entries) do
            place = string.match(entry[1], '^%d+')
            found[#found + 1] = place
            found[#found + 1] = entry[2][2]
            found[#found + 1] = entry[2][4]
            size = size + #entry[2][4]
            if size >= tonumber(ARGV[2]) then return found end
        end
    until #entries == 0
end
return found
"""
)

# KEYS: log, ends. ARGV: ended before, bytes.
# Returns when the oldest ended run ended ('' for none), then first, last, frames and end of each entry that is due.
COLLAPSIBLE: Final = Script(
    READS
    + """
local marks = redis.call('ZRANGE', KEYS[2], 0, 999)
local found, size, at = {''}, 0, 1
local function parse(mark)
    local last, ended = string.match(mark, '^(%d+):(.*)$')
    return tonumber(last), ended
end
if marks[1] then local _, ended = parse(marks[1]); found[1] = ended end
local place = '-'
while marks[at] do
    local entries = redis.call('XRANGE', KEYS[1], place, '+', 'COUNT', 64)
    if #entries == 0 then break end
    for _, entry in ipairs(entries) do
        local last = tonumber(string.match(entry[1], '^%d+'))
        while marks[at] and parse(marks[at]) < last do at = at + 1 end
        if not marks[at] or size > tonumber(ARGV[2]) then return found end
        local _, ended = parse(marks[at])
        if tonumber(ended) >= tonumber(ARGV[1]) then return found end
        found[#found + 1] = entry[2][2]
        found[#found + 1] = last
        found[#found + 1] = entry[2][4]
        found[#found + 1] = ended
        size = size + #entry[2][4]
        place = last + 1
    end
end
return found
"""
)

# KEYS: msgs, bodies. ARGV: before what ('' for all, `=<message id>` or `(<position>`), how many.
# Returns the position of the oldest one found, then the messages, newest first.
MESSAGES: Final = Script(
    READS
    + """
local top = ARGV[1]
if top == '' then
    top = '+inf'
elseif string.sub(top, 1, 1) ~= '(' then
    local score = redis.call('ZSCORE', KEYS[1], string.sub(top, 2))
    if not score then return {} end
    top = '(' .. score
end
local ids = redis.call('ZRANGE', KEYS[1], top, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[2])
if #ids == 0 then return {} end
return {redis.call('ZSCORE', KEYS[1], ids[#ids]), unpack(redis.call('HMGET', KEYS[2], unpack(ids)))}
"""
)

# KEYS: runs, by, bodies. ARGV: message id. Returns the run, and the message if there is none.
RUN_BY_MESSAGE: Final = Script(
    READS
    + """
local run_id = redis.call('HGET', KEYS[2], ARGV[1])
local run = run_id and redis.call('HGET', KEYS[1], run_id)
return {run, not run and redis.call('HGET', KEYS[3], ARGV[1])}
"""
)

# KEYS: the lease, the runs of a node. Forgets the runs unless it lives (again).
FORGET: Final = Script(
    ALWAYS
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('UNLINK', KEYS[2])
return 1
"""
)

SCRIPTS: Final = (
    COMMIT,
    COMMIT_END,
    DIRECT,
    DROP,
    REPLACE,
    SEIZE,
    HOLD,
    RENEW,
    GENERATION,
    CHANGES,
    READ_LOG,
    COLLAPSIBLE,
    MESSAGES,
    RUN_BY_MESSAGE,
    FORGET,
)
