"""The script of a commit: one session's part, whole or not at all.

It makes itself safe to try again: it leaves its own mark with the session, so who lost the answer sends the very same
commit once more, and is told that it was taken.
"""

from __future__ import annotations

from typing import Final

from .script import ALWAYS, REFUSES, Script

TAKEN: Final = 1
TAKEN_BEFORE: Final = 2
STALE: Final = -1
OTHER_GENERATION: Final = -2
GAP: Final = -3
"""What a commit comes to."""

# KEYS: all keys of the session, or the first two when there are frames only.
# ARGV: node, token, version, fence, generation, first seq, last seq, first seq of the entry, frames,
#       run ('' as it was, '-' closed, else the id of the one that opens), ttl ms, grave, its ttl ms, seq of the record,
#       then operations, each as: number of arguments, name, number of its key, arguments.
_COMMIT: Final = """
local me, token, version = ARGV[1], ARGV[2], tonumber(ARGV[3])
local s = redis.call('HMGET', KEYS[1], 'c:' .. me, 'v', 'f', 'g', 'q', 'h')
if s[1] and string.match(s[1], '^%d+') == token then return 2 end
local q = tonumber(s[5] or nil)
if not s[2] then
    if version ~= 0 or not KEYS[3] then
        local grave = KEYS[3] and redis.call('GET', KEYS[3])
        local mine = '|' .. me .. '|' .. token
        if grave and string.sub(grave, -#mine) == mine then return 2 end
        return -1
    end
    if redis.call('EXISTS', KEYS[3]) == 1 then return -1 end
else
    if s[4] ~= ARGV[5] then return -2 end
    if tonumber(s[2]) ~= version or (s[3] or '0') ~= ARGV[4] then return -1 end
    if s[6] then
        local holder, till = string.match(s[6], '^(.*):(%d+)$')
        local now = redis.call('TIME')
        if holder ~= me and now[1] * 1000 + now[2] / 1000 < tonumber(till) then return -1 end
        redis.call('HDEL', KEYS[1], 'h')
    end
end
if ARGV[9] ~= '' then
    if q and tonumber(ARGV[6]) ~= q + 1 then return -3 end
    redis.call('XADD', KEYS[2], ARGV[7] .. '-0', 'a', ARGV[8], 'f', ARGV[9])
    q = tonumber(ARGV[7])
end
if ARGV[12] ~= '' then
    redis.call('UNLINK', unpack(KEYS))
    redis.call('SET', KEYS[3], ARGV[12], 'PX', ARGV[13])
    return 1
end
q = math.max(q or 0, tonumber(ARGV[14]))
local at = 15
while at <= #ARGV do
    local n, name, key = tonumber(ARGV[at]), ARGV[at + 1], KEYS[tonumber(ARGV[at + 2])]
    if name == 'log' then
        local last, ended, frames = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
        if frames ~= '' and tonumber(last) > q then
            redis.call('XADD', KEYS[2], last .. '-0', 'a', ARGV[at + 3], 'f', frames)
            q = tonumber(last)
        end
        if ended ~= '' then redis.call('ZADD', KEYS[9], last, last .. ':' .. ended) end
    elseif name == 'clear' then
        local through = ARGV[at + 3]
        redis.call('UNLINK', KEYS[5], KEYS[6])
        redis.call('XTRIM', KEYS[2], 'MINID', '=', through + 1)
        redis.call('XTRIM', KEYS[4], 'MINID', '=', through + 1)
        redis.call('ZREMRANGEBYSCORE', KEYS[9], '-inf', through)
        if redis.call('XLEN', KEYS[4]) == 0 then redis.call('HDEL', KEYS[1], 'ob') end
    else
        redis.call(name, key, unpack(ARGV, at + 3, at + 2 + n))
    end
    at = at + 3 + n
end
version = version + 1
redis.call('HSET', KEYS[1], 'v', version, 'q', q, 'g', ARGV[5], 'c:' .. me, token .. ':' .. version)
if ARGV[10] == '-' then
    redis.call('HDEL', KEYS[1], 'f', 'n', 'o')
elseif ARGV[10] ~= '' then
    redis.call('HSET', KEYS[1], 'f', version, 'n', me, 'o', ARGV[10])
end
if #ARGV > 14 then
    for _, key in ipairs(KEYS) do
        if ARGV[11] == '0' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ARGV[11]) end
    end
elseif ARGV[11] ~= '0' and redis.call('PTTL', KEYS[2]) == -1 then
    redis.call('PEXPIRE', KEYS[2], ARGV[11])
end
if not s[1] and redis.call('HLEN', KEYS[1]) > 80 then
    for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
        if string.sub(name, 1, 2) == 'c:' then
            local taken = string.match(redis.call('HGET', KEYS[1], name), ':(%d+)$')
            if tonumber(taken) < version - 100 then redis.call('HDEL', KEYS[1], name) end
        end
    end
end
return 1
"""
COMMIT: Final = Script(REFUSES + _COMMIT)
COMMIT_END: Final = Script(ALWAYS + _COMMIT)
